"""Models and engine processes that the whole run shares, since loading one takes most of a second."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures import recordings, tiny_whisper
from transcription.speech import audio
from transcription.speech.engines import remote
from transcription.speech.engines.pocketsphinx import PocketSphinxEngine
from transcription.speech.samples import SAMPLE_RATE


@pytest.fixture(scope="session")
def pocketsphinx() -> PocketSphinxEngine:
    return PocketSphinxEngine()


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper.build(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="session")
def whisper(whisper_folder: Path) -> Any:
    """The tiny Whisper in this process, which never forks without exec."""
    from transcription.speech.engines.faster_whisper import FasterWhisperEngine

    return FasterWhisperEngine(model=str(whisper_folder), name="tiny", device="cpu")


class EngineProcess:
    """A real engine process that can be started, killed and started again at the same address."""

    def __init__(self, address: str, *words: str, **environment: str) -> None:
        self.address, self._environment = address, environment
        self._command = [sys.executable, "-m", "transcription.speech.engines.server", *words[:1], address, *words[1:]]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> EngineProcess:
        self.process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", **self._environment},
        )
        return self

    def wait(self) -> dict[str, Any]:
        """Wait until the model is loaded and return the health report of the process."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            state = remote.health(self.address, 1)
            if state and state["state"] == "ready":
                return state
            time.sleep(0.05)
        raise AssertionError("the engine process did not start")

    def health(self) -> dict[str, Any]:
        state = remote.health(self.address, 10)
        assert state is not None
        return state

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(address: str, *words: str, **environment: str) -> Iterator[EngineProcess]:
    engine = EngineProcess(address, *words, **environment).start()
    try:
        engine.wait()
        yield engine
    finally:
        engine.kill()


@pytest.fixture
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"ipc://{tmp_path_factory.mktemp('e')}/s/engine.sock"


@pytest.fixture
def sphinx_process(address: str) -> Iterator[EngineProcess]:
    with running(address, "pocketsphinx") as engine:
        yield engine


@pytest.fixture(scope="session")
def whisper_process(tmp_path_factory: pytest.TempPathFactory, whisper_folder: Path) -> Iterator[EngineProcess]:
    """An engine process with the tiny Whisper. All tests share it, and none may stop it."""
    address = f"ipc://{tmp_path_factory.mktemp('w')}/engine.sock"
    with running(address, "faster_whisper", "--model", f"standard={whisper_folder}") as engine:
        yield engine


@pytest.fixture
def new_whisper_process(address: str, whisper_folder: Path) -> Callable[..., Any]:
    """Return a function that starts an engine process for one test, at its own address or another one."""

    def start(at: str = address, *words: str) -> Any:
        return running(at, "faster_whisper", "--model", f"standard={whisper_folder}", *words)

    return start


@pytest.fixture
def labelled(tmp_path):
    """One recording with both references, and a picture that belongs to none."""
    recording = recordings.named("sentence-slt.wav")
    shutil.copy(recording.path, tmp_path / "call.wav")
    (tmp_path / "call.txt").write_text(f"{recording.text.capitalize()}.\n")
    (turn,) = recording.turns
    start, length = turn["start_ms"] / 1000, (turn["end_ms"] - turn["start_ms"]) / 1000
    (tmp_path / "call.rttm").write_text(f"SPEAKER call 1 {start:.3f} {length:.3f} <NA> <NA> anna <NA> <NA>\n")
    (tmp_path / "picture.png").touch()
    return tmp_path


@pytest.fixture
def two_channels(tmp_path):
    """A recording with one speaker in each channel: hello on the left, then hola on the right."""
    left, right = (
        np.concatenate(list(audio.windows(tiny_whisper.SAMPLES / name, max_duration_ms=60_000)))
        for name in ("en-hello.wav", "es-hola.wav")
    )
    both = np.zeros((len(left) + len(right), 2), dtype="<i2")
    both[: len(left), 0] = left * 32767
    both[len(left) :, 1] = right * 32767
    path = tmp_path / "line.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(both.tobytes())
    return path
