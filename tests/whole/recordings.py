"""Recordings of some minutes for the tests of this folder, made of the tiny Whisper's samples."""

import wave
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from tests.fixtures import tiny_whisper

RATE = 16_000
PAUSE = np.zeros(RATE // 2, dtype=np.int16)


def speech(folder: Path, *, seconds: int, count: int) -> list[Path]:
    """Write recordings of English speech, each of which begins somewhere else and so says something else."""
    paths = []
    for number in range(count):
        start = number * len(_samples()) // count
        paths.append(write(folder / f"speech-{number}.wav", np.resize(np.roll(_samples(), -start), seconds * RATE)))
    return paths


def silence(folder: Path, *, seconds: int) -> Path:
    return write(folder / "silence.wav", np.zeros(seconds * RATE, dtype=np.int16))


def write(path: Path, samples: npt.NDArray[np.int16]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


@lru_cache(maxsize=1)
def _samples() -> npt.NDArray[np.int16]:
    parts = []
    for sample in tiny_whisper.samples().values():
        if sample.language != "en" or not sample.text:
            continue
        with av.open(str(sample.path)) as source:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            parts += [piece.to_ndarray()[0] for frame in source.decode(audio=0) for piece in resampler.resample(frame)]
        parts.append(PAUSE)
    return np.concatenate(parts)
