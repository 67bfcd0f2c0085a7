"""A queued job of Alice's organization, and how its pages are read."""

import pytest

from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.models import Job


@pytest.fixture
def job(organization) -> Job:
    return make_job(organization)


def page_text(client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


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
