import pytest

from tests.transcription.factories import make_job


@pytest.fixture
def job(organization):
    return make_job(organization)
