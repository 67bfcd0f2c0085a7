"""One PocketSphinx for the whole run: loading takes 0.3 s."""

from __future__ import annotations

import pytest

from transcription.speech.engines.pocketsphinx import PocketSphinxEngine


@pytest.fixture(scope="session")
def pocketsphinx() -> PocketSphinxEngine:
    return PocketSphinxEngine()
