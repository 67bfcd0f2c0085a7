"""A queued job of Alice's organization, and how its pages are read."""

import pytest

from tests.transcription.factories import make_job
from transcription.models import Job


@pytest.fixture
def job(organization) -> Job:
    return make_job(organization)


def page_text(client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()
