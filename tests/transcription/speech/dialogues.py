"""The dialogue of two voices among the recordings, decoded once for all tests of a process."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from tests.fixtures import recordings
from transcription.speech import audio
from transcription.speech.samples import Samples, ms_to_samples

TWO_MEN = Path(recordings.__file__).parent / "two-men.mp3"
# (voice, start_ms, end_ms) of what is said in it
MEN = [("awb", 310, 2_120), ("kal16", 2_610, 5_150), ("awb", 5_675, 7_480), ("kal16", 7_950, 9_010)]


@cache
def load(file: str) -> Samples:
    """Return a recording of at most a minute. Tests share the array, which is read-only."""
    samples = np.concatenate(list(audio.windows(recordings.named(file).path, max_duration_ms=60_000)))
    samples.flags.writeable = False
    return samples


@cache
def two_men() -> Samples:
    """Return `two-men.mp3`: two men take turns of a sentence. Tests share the array, which is read-only."""
    samples = np.concatenate(list(audio.windows(TWO_MEN, max_duration_ms=60_000)))
    samples.flags.writeable = False
    return samples


def said_by_two_men() -> list[tuple[str, Samples]]:
    """Return (voice, samples) of each of their sentences."""
    return [(voice, two_men()[ms_to_samples(start_ms) : ms_to_samples(end_ms)]) for voice, start_ms, end_ms in MEN]


def spoken_by(file: str, speaker: str) -> list[Samples]:
    """Return the sentences of one speaker, as arrays."""
    samples = load(file)
    said = [turn for turn in recordings.named(file).turns if turn["speaker"] == speaker]
    return [samples[ms_to_samples(turn["start_ms"] - 80) : ms_to_samples(turn["end_ms"] + 120)] for turn in said]


def speaker_at(turns, at_ms: int) -> str | None:
    """Return who speaks at a time, None if nobody does."""
    return next((turn.speaker for turn in turns if turn.start_ms <= at_ms < turn.end_ms), None)
