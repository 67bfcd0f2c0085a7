"""Batches in the browser: several files of a form, files that a script sends to signed addresses, an archive of all."""

import io
import json
import zipfile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from billing import ledger, statements
from tests.conftest import AUDIO
from tests.transcription.downloads import content_of, cut
from tests.transcription.factories import make_batch, make_transcript
from tests.transcription.pages.test_upload_page import not_a_recording, recording, spend_everything
from transcription import jobs
from transcription.models import Import, Job, Media, Status, Upload
from transcription.recordings import uploads

SENTENCE = AUDIO / "sentence-slt.wav"
SIZE = SENTENCE.stat().st_size
JSON = {"Accept": "application/json"}


def announce(client, files, **fields):
    sent = {"model": "standard", "speakers": "on", "manifest": files if isinstance(files, str) else json.dumps(files)}
    return client.post("/transcripts/batches/", {**sent, **fields}, headers=JSON)


def finish(item, text="hello"):
    jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(text))


# --- One form with several files -------------------------------------------------------------------------------------


def test_files_of_one_form_are_one_job(alice, organization, client_of):
    files = [recording(), recording("silence.wav")]
    response = client_of(alice).post("/transcripts/upload/", {"files": files, "model": "standard", "language": "en"})
    job = Job.objects.of(organization).get()
    assert (response.status_code, response.url) == (302, f"/o/{job.organization_id}/transcripts/{job.pk}/")
    assert (job.item_count, job.name, job.dialect, job.created_by) == (
        2,
        "sentence-slt.wav and 1 other",
        "pages",
        alice,
    )
    assert (job.priority, job.options["language"], job.status) == ("interactive", "en", Status.QUEUED)


def test_broken_file_of_a_form_does_not_stop_the_others(alice, organization, client_of):
    files = [recording(), not_a_recording(), recording("silence.wav")]
    response = client_of(alice).post("/transcripts/upload/", {"files": files, "model": "standard"}, follow=True)
    job = Job.objects.of(organization).get()
    assert job.item_count == 2
    assert response.redirect_chain == [(f"/o/{organization.pk}/transcripts/{job.pk}/", 302)]
    assert "“notes.mp3” was left out: " in response.content.decode()


def test_broken_files_alone_make_no_job(alice, client_of):
    response = client_of(alice).post(
        "/transcripts/upload/", {"files": [not_a_recording(), not_a_recording()], "model": "standard"}
    )
    assert response.status_code == 400
    assert not Job.objects.exists()
    assert not Media.objects.exists()


def test_files_that_the_balance_does_not_cover_leave_nothing(alice, organization, client_of):
    spare = statements.balance(organization).available_micros - 400
    ledger.reserve(organization, amount_micros=spare, reference="nearly all")
    response = client_of(alice).post(
        "/transcripts/upload/", {"files": [recording() for _ in range(3)], "model": "standard"}
    )
    assert response.status_code == 400
    assert "3 files" in response.content.decode()
    assert not Job.objects.exists()
    assert not Media.objects.exists()


# --- Links -----------------------------------------------------------------------------------------------------------


def test_links_and_files_of_a_script_are_one_batch(alice, organization, client_of):
    links = ["https://example.com/one.mp3", "https://example.org/two.mp3"]
    answer = announce(client_of(alice), [["talk.wav", SIZE], *links])
    assert answer.status_code == 201
    job = Job.objects.of(organization).get()
    assert [item.name for item in job.items.order_by("position")] == ["talk.wav", "one.mp3", "two.mp3"]
    assert sorted(Import.objects.values_list("url", flat=True)) == links


@pytest.mark.parametrize("link", ["ftp://example.com/a.mp3", "http://127.0.0.1/a.mp3", ""])
def test_script_is_told_which_link_is_at_fault(alice, client_of, link):
    answer = announce(client_of(alice), ["https://example.com/one.mp3", link])
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(f"“{link}”: The ")
    assert not Job.objects.exists()


# --- Files that a script sends ---------------------------------------------------------------------------------------


def test_script_announces_files_and_sends_each_to_an_address(alice, organization, client_of):
    client = client_of(alice)
    begun = announce(client, [["one.wav", SIZE], ["two.wav", SIZE]]).json()
    job = Job.objects.of(organization).get()
    assert begun["url"] == f"/o/{job.organization_id}/transcripts/{job.pk}/"
    assert [item.name for item in job.items.all()] == ["one.wav", "two.wav"]
    place = client.post(begun["files"][0]).json()
    assert (place["has_come"], place["target"]["type"]) == (False, "put")
    assert place["target"]["url"].startswith(f"/uploads/{job.items.first().upload_id}?")
    uploads.receive(job.items.first().upload, path=SENTENCE)
    assert client.post(begun["files"][0], {"sent": "1"}).json() == {"has_come": True}
    assert client.post(begun["files"][0]).json() == {"has_come": True}
    assert job.items.first().status == Status.VERIFYING
    response = client.post(begun["complete_url"])
    assert (response.status_code, response.url) == (302, begun["url"])
    assert job.items.last().error_type == "upload_missing"


def test_large_file_is_sent_in_parts(alice, client_of):
    client = client_of(alice)
    begun = announce(client, [["long.wav", 200_000_000]]).json()
    target = client.post(begun["files"][0]).json()["target"]
    assert (target["type"], target["parts"][0][0]) == ("multipart", 1)
    assert target["part_bytes"] * len(target["parts"]) >= 200_000_000


@pytest.mark.parametrize(
    "manifest", ["", "x", "[]", "{}", "[1]", '[["a"]]', '[["a", "5"]]', "[[5, 5]]", '[["a", true]]', '[["a", 0]]']
)
def test_odd_announcement_is_refused(alice, client_of, manifest):
    response = announce(client_of(alice), manifest)
    assert response.status_code == 400
    assert response.json()["message"]
    assert not Upload.objects.exists()


def test_too_many_files_are_refused(alice, client_of):
    assert announce(client_of(alice), [["a", 5]] * 10_001).status_code == 400


def test_options_are_looked_at_before_anything_is_announced(alice, client_of):
    response = announce(client_of(alice), [["a", 5]], num_speakers="2", max_speakers="2")
    assert response.json()["message"] == "Enter the exact number or a range, not both."
    assert not Job.objects.exists()


def test_empty_balance_is_told_before_anything_is_announced(alice, organization, client_of):
    spend_everything(organization)
    response = announce(client_of(alice), [["a", 5], ["b", 5]])
    assert (response.status_code, bool(response.json()["next_step"])) == (402, True)
    assert not Upload.objects.exists()


def test_many_files_wait_behind_the_recordings_of_others(alice, organization, client_of):
    announce(client_of(alice), [["a", 5]] * 21)
    assert Job.objects.of(organization).get().priority == "bulk"


def test_file_that_was_not_sent_is_told(alice, client_of):
    client = client_of(alice)
    begun = announce(client, [["one.wav", SIZE]]).json()
    response = client.post(begun["files"][0], {"sent": "1"})
    assert response.status_code == 400
    assert response.json()["message"] == "The bytes of the upload have not come."


def test_file_after_the_end_is_told_that_it_is_late(alice, client_of):
    client = client_of(alice)
    begun = announce(client, [["one.wav", SIZE], ["two.wav", SIZE]]).json()
    client.post(begun["complete_url"])
    assert client.post(begun["files"][0]).status_code == 409


def test_unknown_file_is_not_found(alice, client_of):
    client = client_of(alice)
    begun = announce(client, [["one.wav", SIZE]]).json()
    assert client.post(begun["files"][0].replace("/0/", "/7/")).status_code == 404


def test_end_of_sending_may_be_said_twice(alice, client_of):
    client = client_of(alice)
    begun = announce(client, [["one.wav", SIZE]]).json()
    assert [client.post(begun["complete_url"]).status_code for _ in range(2)] == [302, 302]


# --- The page of a batch ---------------------------------------------------------------------------------------------


def test_page_of_a_batch_that_waits_for_files_offers_to_go_on_without(alice, client_of):
    client = client_of(alice)
    begun = announce(client, [["one.wav", SIZE], ["two.wav", SIZE]]).json()
    page = client.get(begun["url"]).content.decode()
    assert "0 of 2 files received and checked" in page
    assert "Continue without missing files" in page
    assert "two.wav" in page
    client.post(begun["complete_url"])
    page = client.get(begun["url"]).content.decode()
    assert "No recording was transcribed" in page
    assert "The file was not sent." in page


def test_archive_has_all_transcripts(alice, organization, client_of):
    job = make_batch(organization, 2)
    first, second = job.items.all()
    finish(first, "first words")
    jobs.reject_item(jobs.claim(second.pk), error_type="not_audio", message="This is no audio.")
    client = client_of(alice)
    assert f"/transcripts/{job.pk}/archive/srt/" in client.get(f"/transcripts/{job.pk}/").content.decode()
    response = client.get(f"/transcripts/{job.pk}/archive/srt/")
    assert (response.status_code, response["Content-Type"]) == (200, "application/zip")
    assert response["Content-Disposition"] == 'attachment; filename="2 calls-srt.zip"'
    with zipfile.ZipFile(io.BytesIO(content_of(response))) as archive:
        assert archive.namelist() == ["sentence-slt.srt", "not transcribed.txt"]
        assert b"first words" in archive.read("sentence-slt.srt")


def test_archive_is_a_retrieval(alice, organization, client_of):
    job = make_batch(organization, 1)
    Job.objects.filter(pk=job.pk).update(deletes_after_retrieval=True)
    finish(job.items.select_related("job").get())
    assert cut(client_of(alice).get(f"/transcripts/{job.pk}/archive/txt/"))
    job.refresh_from_db()
    assert job.delete_at is None, "it broke off"
    assert content_of(client_of(alice).get(f"/transcripts/{job.pk}/archive/txt/"))
    job.refresh_from_db()
    assert job.delete_at > timezone.now()


def test_batch_that_runs_has_no_archive(alice, organization, client_of):
    job = make_batch(organization, 2)
    response = client_of(alice).get(f"/transcripts/{job.pk}/archive/txt/")
    assert (response.status_code, response.url) == (302, f"/o/{job.organization_id}/transcripts/{job.pk}/")


@pytest.mark.parametrize("path", ["exe/", "srt/?max_lines=0"])
def test_unknown_archive_is_not_found(alice, organization, client_of, path):
    assert client_of(alice).get(f"/transcripts/{make_batch(organization, 1).pk}/archive/{path}").status_code == 404


def test_stranger_reaches_no_batch(charlie, organization, client_of):
    job = make_batch(organization, 2)
    client = client_of(charlie)
    assert client.get(f"/transcripts/{job.pk}/archive/txt/").status_code == 404
    assert client.post(f"/transcripts/{job.pk}/complete/").status_code == 404
    assert client.post(f"/transcripts/{job.pk}/files/0/").status_code == 404


def test_form_with_a_file_and_a_long_name(alice, organization, client_of):
    files = [SimpleUploadedFile("x" * 300 + ".wav", SENTENCE.read_bytes()), recording()]
    client_of(alice).post("/transcripts/upload/", {"files": files, "model": "standard"})
    assert len(Job.objects.of(organization).get().name) <= 255
