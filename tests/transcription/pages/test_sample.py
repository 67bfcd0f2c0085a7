"""The sample recording, for people who have transcribed nothing yet."""

import uuid
from pathlib import Path

import pytest

from accounts.gate import limits
from accounts.sent_forms import FIELD
from billing import statements
from tests.transcription.factories import make_job
from tests.transcription.pages.conftest import page_text
from transcription.models import Job
from transcription.pages import sample


def test_newcomer_transcribes_it_by_one_click_and_a_double_click_is_one_job(alice, organization, client_of):
    client = client_of(alice)
    assert "Try the sample" in page_text(client, "/transcripts/upload/")
    form = {FIELD: str(uuid.uuid4())}
    answers = [client.post("/transcripts/sample/", form) for _ in range(2)]
    job = Job.objects.get()
    assert {answer["Location"] for answer in answers} == {f"/o/{organization.pk}/transcripts/{job.pk}/"}
    assert (job.name, job.created_by, job.duration_ms) == (sample.NAME, alice, sample.DURATION_MS)
    assert job.quoted_micros == sample.offer(organization)["sample_micros"]


def test_whoever_has_a_transcript_is_not_offered_it(alice, organization, client_of):
    make_job(organization)
    assert "Try the sample" not in page_text(client_of(alice), "/transcripts/upload/")


def test_refusal_says_why_and_charges_nothing(alice, organization, client_of, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"uploads": "1/minute"}
    limits._limit.cache_clear()
    client = client_of(alice)
    try:
        client.post("/transcripts/sample/")
        before = statements.balance(organization)
        answer = client.post("/transcripts/sample/", follow=True)
    finally:
        limits._limit.cache_clear()
    assert "Too many" in answer.content.decode()
    assert Job.objects.count() == 1
    assert statements.balance(organization) == before


def test_it_is_the_conversation_of_the_landing_page():
    assert sample.RECORDING.read_bytes() == Path("tests/fixtures/appointment.mp3").read_bytes()


@pytest.mark.parametrize("method", ["get", "put"])
def test_it_is_a_form_alone(alice, client_of, method):
    assert getattr(client_of(alice), method)("/transcripts/sample/").status_code == 405
