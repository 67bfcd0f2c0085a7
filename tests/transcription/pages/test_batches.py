"""The pages of jobs with several recordings."""

import pytest

from tests.transcription.factories import make_media, make_transcript
from tests.transcription.pages.conftest import page_text
from transcription import jobs
from transcription.models import Job
from transcription.speech.options import TranscriptionOptions


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


def test_canceled_recording_of_a_batch_says_what_it_cost(alice, batch, client_of):
    third = batch.items.last()
    jobs.claim(third.pk)
    assert jobs.record_shown(third.pk, length_ms=4_200, price_micros=417)
    jobs.cancel(batch)
    address = f"/transcripts/{batch.pk}/"
    assert "$0.000417 was charged, for text" in page_text(client_of(alice), f"{address}?item=3")
    assert "Nothing was charged." in page_text(client_of(alice), f"{address}?item=2")


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
