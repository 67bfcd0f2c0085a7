"""The upload page: works, no money, bad input."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from billing import ledger, statements
from tests.conftest import AUDIO
from tests.fixtures import hostile
from transcription.models import Import, Job, Media

JSON = {"Accept": "application/json"}


def recording(name="sentence-slt.wav") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, (AUDIO / name).read_bytes())


def not_a_recording() -> SimpleUploadedFile:
    return SimpleUploadedFile("notes.mp3", b"just words, no sound\n" * 40)


def spend_everything(organization) -> None:
    free = statements.balance(organization).available_micros
    ledger.reserve(organization, amount_micros=free, reference="job:everything")


def test_upload_without_a_script_leads_to_the_transcript(bob, organization, client_of):
    response = client_of(bob).post(
        "/transcripts/upload/", {"files": [recording()], "model": "premium", "language": "en", "speakers": "on"}
    )
    job = Job.objects.of(organization).get()
    assert response.status_code == 302
    assert response.url == f"/o/{job.organization_id}/transcripts/{job.pk}/"
    assert (job.model, job.dialect, job.created_by) == ("premium", "pages", bob)
    assert job.options["language"] == "en"
    assert job.options["diarize"] is True


def test_empty_balance_is_told_before_the_file_is_looked_at(alice, organization, client_of):
    spend_everything(organization)
    sent = {"files": [not_a_recording()], "model": "standard"}
    response = client_of(alice).post("/transcripts/upload/", sent, headers=JSON)
    assert (response.status_code, bool(response.json()["next_step"])) == (402, True)


MORE = {
    "speakers": "on",
    "min_speakers": "2",
    "max_speakers": "3",
    "channels": "mix",
    "mixed_languages": "on",
    "hotwords": "Voxsite, Ana Gómez,, Voxsite",
    "prompt": "A talk about ships.",
    "task": "transcribe",
}


def test_more_options_reach_the_job(alice, organization, client_of):
    client_of(alice).post("/transcripts/upload/", {"files": [recording()], "model": "standard", **MORE})
    options = Job.objects.of(organization).get().options
    assert (options["min_speakers"], options["max_speakers"], options["num_speakers"]) == (2, 3, None)
    assert options["hotwords"] == ["Voxsite", "Ana Gómez"]
    assert (options["prompt"], options["mixed_languages"]) == ("A talk about ships.", True)
    assert (options["word_timestamps"], options["channels"], options["task"]) == (True, "mix", "transcribe")


def test_incomplete_file_is_refused_with_the_option_that_accepts_it(alice, organization, client_of, tmp_path):
    content = hostile.truncated(tmp_path, file="sentence-slt.wav", part=0.6).read_bytes()
    client = client_of(alice)

    def send(**options):
        file = SimpleUploadedFile("talk.wav", content)
        return client.post("/transcripts/upload/", {"files": [file], "model": "standard", **options}, headers=JSON)

    refused = send()
    assert refused.status_code == 400
    assert "select “Accept incomplete files”" in refused.json()["message"]
    assert refused.json()["may_retry"] is True
    assert send(accept_truncated="on").status_code == 201
    assert Job.objects.of(organization).get().options["accept_truncated"] is True


@pytest.mark.long
@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"num_speakers": "2", "min_speakers": "2"}, "num_speakers"),
        ({"num_speakers": "21"}, "num_speakers"),
        ({"min_speakers": "3", "max_speakers": "2"}, "min_speakers"),
        ({"max_speakers": "2", "speakers": ""}, "max_speakers"),
        ({"max_speakers": "2", "channels": "split"}, "max_speakers"),
        ({"mixed_languages": "on", "language": "en"}, "mixed_languages"),
        ({"task": "translate"}, "task"),
        ({"task": "sing"}, "task"),
        ({"language": "es"}, "language"),
        ({"prompt": "x" * 4001}, "prompt"),
        ({"hotwords": "x" * 101}, "hotwords"),
        ({"hotwords": "a\x00b"}, "hotwords"),
        ({"prompt": "a\x00b"}, "prompt"),
    ],
)
def test_what_does_not_go_together_is_said_at_its_field(alice, client_of, fields, name):
    sent = {"files": [recording()], "model": "standard", "speakers": "on", **fields}
    response = client_of(alice).post("/transcripts/upload/", sent)
    assert response.status_code == 400
    assert list(response.context["form"].errors) == [name]
    if name in response.context["form"].MORE:
        assert '<details class="more" open>' in response.content.decode()
    assert not Media.objects.exists()


def test_script_is_told_that_the_options_are_at_fault_and_not_the_file(alice, client_of):
    sent = {"files": [recording()], "model": "standard", "speakers": "on", "num_speakers": "2", "max_speakers": "2"}
    response = client_of(alice).post("/transcripts/upload/", sent, headers=JSON)
    assert response.status_code == 400
    assert response.json() == {"message": "Enter the exact number or a range, not both.", "may_retry": True}


def test_more_options_are_folded_until_used(alice, client_of):
    page = client_of(alice).get("/transcripts/upload/").content.decode()
    assert '<details class="more">' in page
    assert "Each channel is billed as a separate recording" in page


def test_file_that_is_no_recording_is_named_beside_the_one_that_is(alice, organization, client_of):
    files = [not_a_recording(), recording()]
    response = client_of(alice).post("/transcripts/upload/", {"files": files, "model": "standard"}, follow=True)
    # A redirect: whoever reloads the page orders nothing more.
    job = Job.objects.get()
    assert response.redirect_chain == [(f"/o/{organization.pk}/transcripts/{job.pk}/", 302)]
    assert "“notes.mp3” was left out: " in response.content.decode()
    assert job.name == "sentence-slt.wav"


def test_script_gets_an_outcome_for_each_file(alice, organization, client_of):
    client = client_of(alice)
    sent = client.post("/transcripts/upload/", {"files": recording(), "model": "standard"}, headers=JSON)
    assert sent.status_code == 201
    body = sent.json()
    job = Job.objects.get()
    assert body["url"] == f"/o/{job.organization_id}/transcripts/{job.pk}/"
    assert body["price"] == "$0.000333"
    bad = client.post("/transcripts/upload/", {"files": not_a_recording(), "model": "standard"}, headers=JSON)
    assert bad.status_code == 400
    assert bad.json()["next_step"] is None
    assert bad.json()["message"]
    assert Media.objects.count() == 1


def test_upload_without_money_leads_to_topping_up_and_leaves_no_trace(alice, organization, client_of):
    spend_everything(organization)
    client = client_of(alice)
    page = client.post("/transcripts/upload/", {"files": recording(), "model": "standard"}).content.decode()
    assert f'<a href="/o/{organization.pk}/billing/top-up/?needed=1">Top up $5.00 or more</a>' in page
    answer = client.post("/transcripts/upload/", {"files": recording(), "model": "standard"}, headers=JSON)
    assert answer.status_code == 402
    url = f"/o/{organization.pk}/billing/top-up/?needed=1"
    assert answer.json()["next_step"] == {"url": url, "text": "Top up $5.00 or more"}
    assert not Job.objects.exists()
    assert not Media.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "standard"},
        {"model": "golden", "with_file": True},
        {"model": "standard", "language": "xx", "with_file": True},
    ],
    ids=["no file", "unknown model", "unknown language"],
)
def test_bad_upload_is_refused_before_the_file_is_read(alice, organization, client_of, fields):
    fields = dict(fields)
    if fields.pop("with_file", False):
        fields["files"] = recording()
    client = client_of(alice)
    assert client.post("/transcripts/upload/", fields).status_code == 400
    if "files" in fields:
        fields["files"] = recording()
    assert client.post("/transcripts/upload/", fields, headers=JSON).json()["message"]
    assert not Media.objects.exists()


# --- A link ----------------------------------------------------------------------------------------------------------

LINK = "https://example.com/talks/board%20meeting.mp3?key=1"


def test_link_without_a_script_leads_to_a_job_that_downloads_it(alice, organization, client_of):
    client = client_of(alice)
    response = client.post("/transcripts/upload/", {"link": f" {LINK} ", "model": "premium", "language": "en"})
    job = Job.objects.of(organization).get()
    assert response.url == f"/o/{organization.pk}/transcripts/{job.pk}/"
    assert Import.objects.get().url == LINK
    assert (job.name, job.model, job.created_by, job.quoted_micros) == ("board meeting.mp3", "premium", alice, None)
    assert job.options["language"] == "en"
    assert "Downloading the recording from its link" in client.get(response.url).content.decode()


def test_link_and_a_file_are_one_batch(alice, organization, client_of):
    sent = {"files": [recording()], "link": LINK, "model": "standard"}
    client_of(alice).post("/transcripts/upload/", sent)
    job = Job.objects.of(organization).get()
    assert (job.item_count, job.name) == (2, "sentence-slt.wav and 1 other")
    assert Import.objects.get().url == LINK


def test_script_is_told_where_the_job_of_a_link_is(alice, organization, client_of):
    answer = client_of(alice).post("/transcripts/upload/", {"link": LINK, "model": "standard"}, headers=JSON)
    url = f"/o/{organization.pk}/transcripts/{Job.objects.get().pk}/"
    assert answer.status_code == 201
    assert answer.json() == {"name": "board meeting.mp3", "url": url, "length_ms": None, "price": None}


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("board-meeting.mp3", "The URL must begin with https:// or http://."),
        ("http://10.0.0.1/board.mp3", "The address of the URL&#x27;s host is not public."),
        ("https://example.com:8443/board.mp3", "Only the ports 80 and 443 may be used, not 8443."),
    ],
)
def test_link_that_may_not_be_called_is_explained_at_its_field(alice, client_of, link, message):
    page = client_of(alice).post("/transcripts/upload/", {"link": link, "model": "standard"})
    assert page.status_code == 400
    assert list(page.context["form"].errors) == ["link"]
    assert message in page.content.decode()
    assert f'value="{link}"' in page.content.decode()
    assert not Job.objects.exists()


def test_link_without_money_leads_to_topping_up(alice, organization, client_of):
    spend_everything(organization)
    answer = client_of(alice).post("/transcripts/upload/", {"link": LINK, "model": "standard"}, headers=JSON)
    assert (answer.status_code, bool(answer.json()["next_step"])) == (402, True)
    assert not Import.objects.exists()


def test_upload_page_says_the_price_before_the_act(alice, organization, client_of):
    page = client_of(alice).get("/transcripts/upload/").content.decode()
    assert "$0.30 per hour" in page
    assert "$0.60 per hour" in page
    assert "3\N{NO-BREAK SPACE}h\N{NO-BREAK SPACE}20\N{NO-BREAK SPACE}min" in page
