"""The site with a real Whisper in its engine process, for what PocketSphinx cannot do."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.fixtures import tiny_whisper
from tests.transcription.speech.conftest import running
from transcription.speech import audio
from transcription.speech.samples import SAMPLE_RATE, ms_to_samples


@pytest.fixture(scope="session")
def whisper_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Settings of a site whose two models are both the tiny Whisper, with its engine process running."""
    folder = tiny_whisper.build(tmp_path_factory.mktemp("site"))
    address = f"ipc://{tmp_path_factory.mktemp('s')}/engine.sock"
    models = {"standard": str(folder), "premium": str(folder)}
    words = [word for name, source in models.items() for word in ("--model", f"{name}={source}")]
    with running(address, "faster_whisper", *words):
        yield {"ENGINE": "faster_whisper", "ENGINE_SOCKETS": [address], "WHISPER_MODELS": models}


@pytest.fixture
def whisper_here(settings, whisper_site):
    """This test's site recognises with the tiny Whisper."""
    for name, value in whisper_site.items():
        setattr(settings, name, value)


@pytest.fixture
def wav() -> Callable[..., bytes]:
    """Return a maker of 16 kHz WAV files whose channels are (n,) float32 arrays; shorter ones end in silence."""

    def make(*channels: np.ndarray) -> bytes:
        sound = np.zeros((max(map(len, channels)), len(channels)), dtype="<i2")
        for number, samples in enumerate(channels):
            sound[: len(samples), number] = samples * 32767
        made = io.BytesIO()
        with wave.open(made, "wb") as file:
            file.setnchannels(len(channels))
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(sound.tobytes())
        return made.getvalue()

    return make


@pytest.fixture
def said() -> Callable[..., np.ndarray]:
    """Return a reader of the tiny Whisper's sample recordings, one after the other, as float32 samples."""

    def read(*names: str, pause_ms: int = 1500) -> np.ndarray:
        pause = np.zeros(ms_to_samples(pause_ms), dtype=np.float32)
        parts = []
        for name in names:
            parts += [*audio.windows(tiny_whisper.SAMPLES / name, max_duration_ms=600_000), pause]
        return np.concatenate(parts)

    return read
