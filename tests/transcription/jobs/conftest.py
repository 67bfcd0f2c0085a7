"""A job, and a file that is no recording."""

import pytest

from tests.transcription.factories import make_job
from tests.transcription.jobs.sources_sent import SIZE


@pytest.fixture
def job(organization):
    return make_job(organization)


@pytest.fixture
def no_recording(tmp_path):
    """Return the path of a text as large as SENTENCE."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"Not a recording. "[:17] * (SIZE // 17) + b"." * (SIZE % 17))
    return path
