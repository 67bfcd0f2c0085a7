"""Fixtures of the tests of the extra `gpu`: a tiny pipeline, made once.

Everything heavy is imported inside fixtures and tests, so that these files can be collected without the extra.
"""

import pytest

from tests.gpu import tiny_pyannote


@pytest.fixture(autouse=True)
def clean_redis():
    """Nothing here needs Redis, and no test here may open a socket."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tiny_pyannote.make(tmp_path_factory.mktemp("pyannote"))


@pytest.fixture(scope="session")
def pipeline(folder):
    from transcription.speech.diarizers.pyannote import PyannotePipeline

    return PyannotePipeline(str(folder), device="cpu")
