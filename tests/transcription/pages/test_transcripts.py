"""Transcript and downloads: works, visitor, stranger, bad input."""

import io
import json
import re
import uuid

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from docx import Document

from accounts.sent_forms import FIELD
from billing import ledger_reader, statements
from billing.models import Wallet
from tests.transcription.factories import make_transcript
from tests.transcription.pages.conftest import complete, fail, page_text
from transcription import jobs
from transcription.models import Job, JobItem, Status

# --- Who may -----------------------------------------------------------------------------------------------------

OBJECT_PATHS = ["", "progress/", "download/txt/", "audio/"]
ACTS = ["cancel/", "delete/", "again/"]


@pytest.mark.parametrize("path", ["/transcripts/", "/transcripts/upload/", "/transcripts/live/"])
def test_visitor_is_asked_to_sign_in(db, path):
    assert Client().get(path).url == f"/accounts/login/?next={path}"


@pytest.mark.long
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
    if path == "delete/":
        # It may be gone by a double click, and a stranger reads the same.
        assert "no longer exists" in client_of(charlie).post(address, follow=True).content.decode()
    else:
        assert client_of(charlie).post(address).status_code == 404
    assert client_of(charlie).get(address).status_code == 405
    job.refresh_from_db()
    assert job.status == Status.QUEUED


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


def test_page_marks_as_many_phrases_as_the_list_takes(alice, job, client_of):
    words = " ".join(chr(0x4E00 + number) for number in range(100))
    complete(job, words)
    assert client_of(alice).get(f"/transcripts/{job.pk}/", {"q": words}).context["found_count"] == 10


def test_failed_job_says_what_happened_and_that_nothing_was_charged(alice, job, client_of):
    fail(job)
    page = client_of(alice).get(f"/transcripts/{job.pk}/").content.decode()
    assert "The engine gave up." in page
    assert "Nothing was charged" in page


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("txt", "text/plain"),
        ("json", "application/json"),
        ("srt", "application/x-subrip"),
        ("vtt", "text/vtt"),
        ("tsv", "text/tab-separated-values"),
    ],
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
    assert f'action="/o/{job.organization_id}/transcripts/{job.pk}/download/"' in page
    chosen = {
        "max_chars_per_line": "12",
        "max_lines": "1",
        "min_seconds": "",
        "max_seconds": "2.5",
        "speaker_labels": "false",
    }
    response = client.get(f"/transcripts/{job.pk}/download/", {"format": "srt", **chosen})
    assert response["Content-Disposition"] == 'attachment; filename="sentence-slt.srt"'
    text = response.content.decode()
    assert client.get(f"/transcripts/{job.pk}/download/srt/", chosen).content.decode() == text
    lines = [line for line in text.splitlines() if line and "-->" not in line and not line.isdigit()]
    assert "Speaker" not in text
    assert max(map(len, lines)) <= 12
    assert "Speaker 1: one" in client.get(f"/transcripts/{job.pk}/download/srt/").content.decode()


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ({}, "Speaker 1: one two"),
        # What subtitles alone have is not looked at.
        ({"format": "txt", "max_lines": "0", "min_seconds": "x"}, "Speaker 1: one two"),
        ({"format": "txt", "speaker_labels": "false", "timestamps": "true"}, "[0:00] one two"),
        ({"format": "txt", "speaker_labels": "true", "timestamps": "false"}, "Speaker 1: one two"),
    ],
)
def test_panel_downloads_text_with_the_choices_that_text_has(alice, job, client_of, chosen, text):
    complete(job, text="one two")
    response = client_of(alice).get(f"/transcripts/{job.pk}/download/", chosen)
    assert (response.status_code, response.content.decode()) == (200, f"{text}\n")


def test_panel_downloads_a_document_named_as_the_recording(alice, job, client_of):
    complete(job, text="one two")
    response = client_of(alice).get(f"/transcripts/{job.pk}/download/", {"format": "docx", "timestamps": ""})
    assert response["Content-Disposition"] == 'attachment; filename="sentence-slt.docx"'
    texts = [paragraph.text for paragraph in Document(io.BytesIO(response.content)).paragraphs]
    assert texts == ["sentence-slt.wav", "Length 0:10", "Speaker 1  0:00", "one two"]


def test_panel_with_an_unknown_format_says_so(alice, job, client_of):
    complete(job)
    response = client_of(alice).get(f"/transcripts/{job.pk}/download/", {"format": "exe", "max_lines": "0"})
    assert response.status_code == 400
    assert "exe is not one of the available choices" in response.content.decode()


def test_text_from_right_to_left_says_so(alice, job, client_of):
    complete(job, text="שלום לכולם")
    page = client_of(alice).get(f"/transcripts/{job.pk}/").content.decode()
    assert re.search(r'<p dir="rtl"><span [^>]*>שלום לכולם</span></p>', page)


def test_download_of_unknown_format_or_before_the_end_is_not_found(alice, job, client_of):
    client = client_of(alice)
    assert client.get(f"/transcripts/{job.pk}/download/txt/").status_code == 404
    complete(job)
    assert client.get(f"/transcripts/{job.pk}/download/exe/").status_code == 404


def test_job_without_money_is_run_again_after_a_top_up(alice, organization, job, client_of):
    """Nothing is uploaded again: the recording is still here."""
    fail(job)
    client = client_of(alice)
    assert "Run again" in client.get(f"/transcripts/{job.pk}/").content.decode()
    Wallet.objects.update(balance_micros=1)
    form = {FIELD: uuid.uuid4()}
    refused = client.post(f"/transcripts/{job.pk}/again/", form, follow=True)
    assert refused.redirect_chain == [(f"/o/{job.organization_id}/transcripts/{job.pk}/", 302)]
    assert "balance" in refused.content.decode()
    Wallet.objects.update(balance_micros=1_000_000)
    # The browser may send the same form again: nothing was done.
    response = client.post(f"/transcripts/{job.pk}/again/", form)
    again = Job.objects.exclude(pk=job.pk).get()
    assert response.url == f"/o/{job.organization_id}/transcripts/{again.pk}/"
    assert (again.status, again.name, again.items.get().media) == (Status.QUEUED, job.name, job.items.get().media)


def test_job_that_runs_or_has_its_transcript_is_not_run_again(alice, job, client_of):
    client = client_of(alice)
    for _ in range(2):
        assert "Run again" not in client.get(f"/transcripts/{job.pk}/").content.decode()
        client.post(f"/transcripts/{job.pk}/again/")
        if not job.is_final:
            complete(job)
    assert Job.objects.count() == 1


def test_cancel_frees_the_money(alice, organization, job, client_of):
    response = client_of(alice).post(f"/transcripts/{job.pk}/cancel/", follow=True)
    assert "canceled. Nothing was charged." in response.content.decode()
    assert statements.balance(organization).held_micros == 0
    # A double click is no mistake to be told of.
    again = client_of(alice).post(f"/transcripts/{job.pk}/cancel/", follow=True)
    assert "has already ended" not in again.content.decode()


def show_text(job: Job, *, price_micros: int = 417) -> JobItem:
    """Let a program be shown text of a running job."""
    item = jobs.claim(job.items.first().pk)
    assert jobs.record_shown(item.pk, length_ms=4_200, price_micros=price_micros)
    return item


async def parts_of(response) -> list[bytes]:
    return [part async for part in response.streaming_content]


@pytest.mark.long
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


def test_delete_removes_the_transcript_and_keeps_the_ledger(bob, organization, job, client_of):
    complete(job)
    response = client_of(bob).post(f"/transcripts/{job.pk}/delete/", follow=True)
    assert response.redirect_chain[-1][0] == f"/o/{job.organization_id}/transcripts/"
    assert not Job.objects.exists()
    assert len(ledger_reader.entries(organization, limit=10)) == 2
    assert client_of(bob).get(f"/transcripts/{job.pk}/").status_code == 404


@pytest.mark.parametrize("path", ["not-a-uuid/", f"{uuid.UUID(int=7)}/"])
def test_unknown_transcript_is_not_found(alice, organization, client_of, path):
    assert client_of(alice).get(f"/transcripts/{path}").status_code == 404
