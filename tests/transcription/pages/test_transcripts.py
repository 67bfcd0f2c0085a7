"""Upload, list, transcript, downloads and playback: works, visitor, stranger, no money, bad input."""

import json
import uuid

import psutil
import pytest
from asgiref.sync import async_to_sync
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient, Client

from billing import ledger, ledger_reader, statements
from tests.conftest import AUDIO
from tests.fixtures import hostile
from tests.transcription.factories import make_job, make_media, make_transcript
from transcription import jobs
from transcription.models import Job, JobItem, Media, Status
from transcription.speech.options import TranscriptionOptions

JSON = {"Accept": "application/json"}


def recording(name="sentence-slt.wav") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, (AUDIO / name).read_bytes())


def not_a_recording() -> SimpleUploadedFile:
    return SimpleUploadedFile("notes.mp3", b"just words, no sound\n" * 40)


def complete(job: Job, text="good morning") -> Job:
    item = jobs.claim(job.items.get().pk)
    jobs.finish_item(item, transcript=make_transcript(text, duration_ms=job.duration_ms))
    job.refresh_from_db()
    return job


def fail(job: Job) -> Job:
    item = jobs.claim(job.items.get().pk)
    jobs.reject_item(item, error_type="engine_failed", message="The engine gave up.")
    job.refresh_from_db()
    return job


def spend_everything(organization) -> None:
    free = statements.balance(organization).available_micros
    ledger.reserve(organization, amount_micros=free, reference="job:everything")


@pytest.fixture
def job(organization) -> Job:
    return make_job(organization)


# --- Who may -----------------------------------------------------------------------------------------------------

OBJECT_PATHS = ["", "progress/", "download/txt/", "audio/"]
ACTS = ["cancel/", "delete/"]


@pytest.mark.parametrize("path", ["/transcripts/", "/transcripts/upload/", "/transcripts/live/"])
def test_visitor_is_asked_to_sign_in(db, path):
    assert Client().get(path).url == f"/accounts/login/?next={path}"


@pytest.mark.parametrize("path", OBJECT_PATHS)
def test_transcript_is_its_organizations_alone(job, charlie, client_of, path):
    complete(job)
    address = f"/transcripts/{job.pk}/{path}"
    assert Client().get(address).status_code == 302
    response = client_of(charlie).get(address)
    assert response.status_code == 404
    assert "Page not found" in response.content.decode()


@pytest.mark.parametrize("path", ACTS)
def test_stranger_can_neither_cancel_nor_delete(job, charlie, client_of, path):
    address = f"/transcripts/{job.pk}/{path}"
    assert Client().post(address).status_code == 302
    assert client_of(charlie).post(address).status_code == 404
    assert client_of(charlie).get(address).status_code == 405
    job.refresh_from_db()
    assert job.status == Status.QUEUED


def test_strangers_jobs_are_neither_listed_nor_polled(job, charlie, client_of):
    client = client_of(charlie)
    assert list(client.get("/transcripts/").context["jobs"]) == []
    assert list(client.get("/transcripts/live/", {"id": job.pk}).context["jobs"]) == []
    assert client.get("/transcripts/", {"before": job.pk}).status_code == 200


# --- Upload ------------------------------------------------------------------------------------------------------


def test_upload_without_a_script_leads_to_the_transcript(bob, organization, client_of):
    response = client_of(bob).post(
        "/transcripts/upload/", {"files": [recording()], "model": "premium", "language": "en", "speakers": "on"}
    )
    job = Job.objects.of(organization).get()
    assert response.status_code == 302
    assert response.url == f"/transcripts/{job.pk}/"
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
    assert send(accept_truncated="on").status_code == 201
    assert Job.objects.of(organization).get().options["accept_truncated"] is True


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


def test_several_files_become_one_job_each(alice, organization, client_of):
    files = [recording(), recording("sentence-slt.flac")]
    response = client_of(alice).post("/transcripts/upload/", {"files": files, "model": "standard"})
    assert response.url == "/transcripts/"
    assert {job.name for job in Job.objects.of(organization)} == {"sentence-slt.wav", "sentence-slt.flac"}
    assert {job.options["diarize"] for job in Job.objects.all()} == {False}


def test_file_that_is_no_recording_is_named_beside_the_one_that_is(alice, organization, client_of):
    files = [not_a_recording(), recording()]
    response = client_of(alice).post("/transcripts/upload/", {"files": files, "model": "standard"})
    assert response.status_code == 400
    page = response.content.decode()
    assert "<strong>notes.mp3</strong>" in page
    assert "Nothing was charged." in page
    assert "is queued" in page
    assert Job.objects.get().name == "sentence-slt.wav"


def test_script_gets_an_outcome_for_each_file(alice, organization, client_of):
    client = client_of(alice)
    sent = client.post("/transcripts/upload/", {"files": recording(), "model": "standard"}, headers=JSON)
    assert sent.status_code == 201
    body = sent.json()
    assert body["url"] == f"/transcripts/{Job.objects.get().pk}/"
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
    assert '<a href="/billing/top-up/?needed=1">Top up $0.01 or more</a>' in page
    answer = client.post("/transcripts/upload/", {"files": recording(), "model": "standard"}, headers=JSON)
    assert answer.status_code == 402
    assert answer.json()["next_step"] == {"url": "/billing/top-up/?needed=1", "text": "Top up $0.01 or more"}
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


def test_upload_page_says_the_price_before_the_act(alice, organization, client_of):
    page = client_of(alice).get("/transcripts/upload/").content.decode()
    assert "$0.30 per hour" in page
    assert "$0.60 per hour" in page
    assert "3\N{NO-BREAK SPACE}h\N{NO-BREAK SPACE}20\N{NO-BREAK SPACE}min" in page


# --- List --------------------------------------------------------------------------------------------------------


def test_list_filters_by_state(alice, organization, job, client_of):
    done, failed = complete(make_job(organization)), fail(make_job(organization))
    client = client_of(alice)

    def shown(status):
        return set(client.get("/transcripts/", {"status": status}).context["jobs"])

    assert shown("running") == {job}
    assert shown("completed") == {done}
    assert shown("failed") == {failed}
    assert shown("canceled") == set()
    assert shown("nonsense") == {job, done, failed}


def test_list_pages_are_stable_while_jobs_come_in(alice, organization, client_of):
    old = {make_job(organization, duration_ms=1000).pk for _ in range(27)}
    client = client_of(alice)
    first = client.get("/transcripts/")
    make_job(organization, duration_ms=1000)
    second = client.get("/transcripts/", {"before": first.context["next_cursor"]})
    seen = [job.pk for job in (*first.context["jobs"], *second.context["jobs"])]
    assert len(seen) == 27
    assert set(seen) == old
    assert client.get("/transcripts/", {"before": "nonsense"}).status_code == 200


def test_only_unfinished_rows_are_asked_about(alice, organization, job, client_of):
    complete(make_job(organization))
    client = client_of(alice)
    page = client.get("/transcripts/")
    assert page.context["live"] == [job]
    complete(job)
    rows = client.get("/transcripts/live/", [("id", str(job.pk)), ("id", "nonsense")]).content.decode()
    assert f'id="job-{job.pk}" hx-swap-oob="true"' in rows
    assert "Completed" in rows
    assert "hx-get" not in rows


# --- One transcript ----------------------------------------------------------------------------------------------


def test_running_job_shows_its_progress_and_what_is_held(alice, job, client_of):
    client = client_of(alice)
    page = client.get(f"/transcripts/{job.pk}/").content.decode()
    assert "$0.000833 reserved" in page
    assert "Queued" in page
    item = jobs.claim(job.items.get().pk)
    jobs.touch(item, progress=40)
    assert "40% transcribed" in client.get(f"/transcripts/{job.pk}/progress/").content.decode()
    jobs.finish_item(item, transcript=make_transcript())
    assert client.get(f"/transcripts/{job.pk}/progress/")["HX-Refresh"] == "true"


def test_completed_job_shows_text_speaker_and_cost(alice, job, client_of):
    complete(job, "good morning to all")
    page = client_of(alice).get(f"/transcripts/{job.pk}/").content.decode()
    for text in ("good morning to all", "Speaker 1", "$0.000833", "English", "pocketsphinx"):
        assert text in page


def test_words_of_a_recording_are_shown_as_text(alice, job, client_of):
    complete(job, "<img src=x onerror=alert(1)>")
    page = client_of(alice).get(f"/transcripts/{job.pk}/").content.decode()
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_recording_without_speech_says_so(alice, job, client_of):
    complete(job, "")
    assert "No speech found" in client_of(alice).get(f"/transcripts/{job.pk}/").content.decode()


def test_failed_job_says_what_happened_and_that_nothing_was_charged(alice, job, client_of):
    fail(job)
    page = client_of(alice).get(f"/transcripts/{job.pk}/").content.decode()
    assert "The engine gave up." in page
    assert "Nothing was charged" in page


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("txt", "text/plain"), ("json", "application/json"), ("srt", "application/x-subrip"), ("vtt", "text/vtt")],
)
def test_download_is_an_attachment_with_the_recordings_name(alice, job, client_of, name, content_type):
    complete(job, "good morning")
    response = client_of(alice).get(f"/transcripts/{job.pk}/download/{name}/")
    assert response.status_code == 200
    assert response["Content-Type"].startswith(content_type)
    assert response["Content-Disposition"] == f'attachment; filename="sentence-slt.{name}"'
    assert "good morning" in response.content.decode()
    if name == "json":
        assert json.loads(response.content)["segments"]


def test_download_is_written_as_the_form_says(alice, job, client_of):
    complete(job, text="one two three four five six seven eight nine ten")
    client = client_of(alice)
    page = client.get(f"/transcripts/{job.pk}/").content.decode()
    assert f'formaction="/transcripts/{job.pk}/download/srt/"' in page
    chosen = {
        "max_chars_per_line": "12",
        "max_lines": "1",
        "min_seconds": "",
        "max_seconds": "2.5",
        "speaker_labels": "false",
    }
    text = client.get(f"/transcripts/{job.pk}/download/srt/", chosen).content.decode()
    lines = [line for line in text.splitlines() if line and "-->" not in line and not line.isdigit()]
    assert "Speaker" not in text
    assert max(map(len, lines)) <= 12
    assert "Speaker 1: one" in client.get(f"/transcripts/{job.pk}/download/srt/").content.decode()


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"max_lines": "0"}, "greater than or equal to 1."),
        ({"max_chars_per_line": "wide"}, "Enter a whole number."),
        ({"min_seconds": "5", "max_seconds": "4"}, "This is more than the maximum."),
    ],
)
def test_wrong_options_of_a_download_are_shown_beside_their_field(alice, job, client_of, chosen, said):
    complete(job)
    response = client_of(alice).get(f"/transcripts/{job.pk}/download/vtt/", chosen)
    assert response.status_code == 400
    assert said in response.content.decode()


def test_text_from_right_to_left_says_so(alice, job, client_of):
    complete(job, text="שלום לכולם")
    assert '<p dir="rtl">שלום לכולם</p>' in client_of(alice).get(f"/transcripts/{job.pk}/").content.decode()


def test_download_of_unknown_format_or_before_the_end_is_not_found(alice, job, client_of):
    client = client_of(alice)
    assert client.get(f"/transcripts/{job.pk}/download/txt/").status_code == 404
    complete(job)
    assert client.get(f"/transcripts/{job.pk}/download/exe/").status_code == 404


def test_cancel_frees_the_money(alice, organization, job, client_of):
    response = client_of(alice).post(f"/transcripts/{job.pk}/cancel/", follow=True)
    assert "canceled. Nothing was charged." in response.content.decode()
    assert statements.balance(organization).held_micros == 0
    again = client_of(alice).post(f"/transcripts/{job.pk}/cancel/", follow=True)
    assert "has already ended" in again.content.decode()


def show_text(job: Job, *, price_micros: int = 417) -> JobItem:
    """Let a program be shown text of a running job."""
    item = jobs.claim(job.items.first().pk)
    assert jobs.record_shown(item.pk, length_ms=4_200, price_micros=price_micros)
    return item


async def parts_of(response) -> list[bytes]:
    return [part async for part in response.streaming_content]


def test_cancel_says_what_text_that_was_shown_costs(alice, organization, job, client_of):
    show_text(job)
    assert "you pay for text that a program was shown" in page_text(client_of(alice), f"/transcripts/{job.pk}/")
    page = client_of(alice).post(f"/transcripts/{job.pk}/cancel/", follow=True).content.decode()
    assert "canceled. $0.000417 was charged." in page
    assert "$0.000417 was charged, for text that a program was shown while the job ran." in page
    assert "The charge stays in your ledger." in page
    assert "Nothing was charged" not in page
    assert "$0.000417" in page_text(client_of(alice), "/transcripts/?status=canceled")
    assert "(canceled, text of 0:00:05 shown)" in page_text(client_of(alice), "/billing/ledger/")
    assert "$0.000417" in page_text(client_of(alice), "/billing/usage/")
    exported = client_of(alice).get("/billing/ledger.csv")
    lines = b"".join(async_to_sync(parts_of)(exported)).decode().splitlines()
    assert [line for line in lines if "(canceled, text of 0:00:05 shown)" in line and "-417" in line]


def test_failed_job_says_what_text_that_was_shown_costs(alice, job, client_of):
    jobs.reject_item(show_text(job), error_type="length_mismatch", message="Longer than it says.")
    page = page_text(client_of(alice), f"/transcripts/{job.pk}/")
    assert "Longer than it says." in page
    assert "$0.000417 was charged, for text that a program was shown while the job ran." in page
    assert "Nothing was charged" not in page


def test_canceled_recording_of_a_batch_says_what_it_cost(alice, batch, client_of):
    third = batch.items.last()
    jobs.claim(third.pk)
    assert jobs.record_shown(third.pk, length_ms=4_200, price_micros=417)
    jobs.cancel(batch)
    address = f"/transcripts/{batch.pk}/"
    assert "$0.000417 was charged, for text" in page_text(client_of(alice), f"{address}?item=3")
    assert "Nothing was charged." in page_text(client_of(alice), f"{address}?item=2")


def test_delete_removes_the_transcript_and_keeps_the_ledger(bob, organization, job, client_of):
    complete(job)
    response = client_of(bob).post(f"/transcripts/{job.pk}/delete/", follow=True)
    assert response.redirect_chain[-1][0] == "/transcripts/"
    assert not Job.objects.exists()
    assert len(ledger_reader.entries(organization, limit=10)) == 2
    assert client_of(bob).get(f"/transcripts/{job.pk}/").status_code == 404


@pytest.mark.parametrize("path", ["not-a-uuid/", f"{uuid.UUID(int=7)}/"])
def test_unknown_transcript_is_not_found(alice, organization, client_of, path):
    assert client_of(alice).get(f"/transcripts/{path}").status_code == 404


# --- Playback ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status", "content", "content_range"),
    [
        ("bytes=0-", 206, b"sound", "bytes 0-4/5"),
        ("bytes=1-2", 206, b"ou", "bytes 1-2/5"),
        ("bytes=-2", 206, b"nd", "bytes 3-4/5"),
        ("bytes=2-99", 206, b"und", "bytes 2-4/5"),
        ("bytes=5-", 416, b"", "bytes */5"),
        ("bytes=3-1", 416, b"", "bytes */5"),
    ],
)
def test_player_gets_the_part_that_it_asks_for(alice, job, client_of, asked, status, content, content_range):
    response = client_of(alice).get(f"/transcripts/{job.pk}/audio/", headers={"Range": asked})
    assert response.status_code == status
    assert response.content == content
    assert response["Content-Range"] == content_range


# A number of thousands of digits would be an error to int().
@pytest.mark.parametrize("headers", [{}, {"Range": f"bytes={'9' * 5000}-"}], ids=["no range", "impossible range"])
def test_recording_is_played_whole_and_never_as_a_page(alice, job, headers):
    async def fetch():
        client = AsyncClient()
        await client.aforce_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
        response = await client.get(f"/transcripts/{job.pk}/audio/", headers=headers)
        return response, b"".join([part async for part in response])

    response, content = async_to_sync(fetch)()
    assert content == b"sound"
    assert response["Content-Type"] == "audio/wav"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_recording_is_not_open_while_nobody_listens(alice, job):
    """A client that leaves before the first byte must not leave a file open."""

    def is_open() -> bool:
        return any(job.items.get().media.storage_key in file.path for file in psutil.Process().open_files())

    async def fetch():
        client = AsyncClient()
        await client.aforce_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
        return await client.get(f"/transcripts/{job.pk}/audio/")

    response = async_to_sync(fetch)()
    assert not is_open()
    response.close()


# --- Jobs of several recordings --------------------------------------------------------------------------------------


@pytest.fixture
def batch(organization) -> Job:
    """Three recordings: the first was transcribed, the second failed, the third is queued."""
    media = [make_media(organization) for _ in range(3)]
    submission = jobs.Submission(
        organization=organization, model="standard", options=TranscriptionOptions(), dialect="native"
    )
    job = jobs.submit_batch(submission, recordings=media, name="3 calls")
    first, second, _ = job.items.all()
    jobs.finish_item(jobs.claim(first.pk), transcript=make_transcript("good morning"))
    jobs.reject_item(jobs.claim(second.pk), error_type="not_audio", message="No audio in it.")
    job.refresh_from_db()
    return job


def page_text(client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_running_batch_shows_each_recording(batch, alice, client_of):
    page = page_text(client_of(alice), f"/transcripts/{batch.pk}/")
    assert "2 of 3 recordings done." in page
    assert "No audio in it." in page
    for position in (1, 2, 3):
        assert f'href="/transcripts/{batch.pk}/?item={position}"' in page
    # It asks for itself again until the job has ended.
    assert f'hx-get="/transcripts/{batch.pk}/"' in page


def test_transcript_can_be_read_before_the_batch_has_ended(batch, alice, client_of):
    client = client_of(alice)
    page = page_text(client, f"/transcripts/{batch.pk}/?item=1")
    assert "good morning" in page
    assert f"/transcripts/{batch.pk}/download/txt/?item=1" in page
    assert 'id="progress"' not in page
    assert "could not be transcribed" in page_text(client, f"/transcripts/{batch.pk}/?item=2")
    assert "not transcribed yet" in page_text(client, f"/transcripts/{batch.pk}/?item=3")


def test_page_of_a_recording_waits_for_that_recording_alone(batch, alice, client_of):
    client = client_of(alice)
    assert "HX-Refresh" in client.get(f"/transcripts/{batch.pk}/progress/?item=1").headers
    assert "HX-Refresh" not in client.get(f"/transcripts/{batch.pk}/progress/?item=3").headers
    assert "HX-Refresh" not in client.get(f"/transcripts/{batch.pk}/progress/").headers


def test_canceled_batch_says_what_it_cost(batch, alice, client_of):
    response = client_of(alice).post(f"/transcripts/{batch.pk}/cancel/", follow=True)
    # 10 s at $0.30 an hour.
    assert "canceled. $0.000833 was charged." in response.content.decode()
