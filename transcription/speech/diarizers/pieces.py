"""Cuts the speech of a section into pieces in which one channel speaks alone: what a voice print is taken of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from transcription.speech.diarizers.segmentation import FRAMES_PER_SECOND

if TYPE_CHECKING:
    import numpy.typing as npt

    UInt8Array = npt.NDArray[np.uint8]

# Longer pieces give better prints, but the network may take two alike voices for one speaker for ten seconds.
PIECE_SECONDS = 3.0
# A speaker who goes on after a shorter pause, while nobody else spoke, is in the same piece.
PAUSE_SECONDS = 0.5
# A speech without a pause is cut after this time, so that its samples need not be kept.
MAX_SPEECH_SECONDS = 30.0

# List of (first frame, frame after the last).
Runs = list[tuple[int, int]]


class PieceCutter:
    """Cuts one section, from frame 0 on."""

    def __init__(self) -> None:
        self._channel = -1
        self._runs: Runs = []
        self._next_frame = 0

    @property
    def first_frame(self) -> int:
        """The first frame that may be part of a later piece."""
        return self._runs[0][0] if self._runs else self._next_frame

    def feed(self, activity: UInt8Array) -> Iterator[tuple[int, list[Runs]]]:
        """Yield (channel, pieces) of each speech that ends in the next frames.

        activity: (n, channels), 0 for silence. The pieces of a speech follow each other, all on this channel.
        """
        speaking = activity > 0
        counts = speaking.sum(axis=1)
        # -1: nobody, -2: several
        states = np.where(counts == 1, speaking.argmax(axis=1), np.where(counts == 0, -1, -2))
        for state, begin, end in runs_of(states):
            if state != -1:
                yield from self._take(state, self._next_frame + begin, self._next_frame + end)
        self._next_frame += len(activity)
        if self._runs and self._next_frame - self._runs[-1][1] >= PAUSE_SECONDS * FRAMES_PER_SECOND:
            yield from self.finish()

    def finish(self) -> Iterator[tuple[int, list[Runs]]]:
        """Yield the speech that is still open."""
        if self._runs:
            yield self._channel, cut(self._runs)
        self._runs = []

    def _take(self, state: int, begin: int, end: int) -> Iterator[tuple[int, list[Runs]]]:
        if self._runs:
            pause = begin - self._runs[-1][1]
            is_long = self._runs[-1][1] - self._runs[0][0] >= MAX_SPEECH_SECONDS * FRAMES_PER_SECOND
            if state != self._channel or pause >= PAUSE_SECONDS * FRAMES_PER_SECOND or is_long:
                yield from self.finish()
        if state < 0:
            return
        self._channel = state
        if self._runs and self._runs[-1][1] == begin:
            self._runs[-1] = self._runs[-1][0], end
        else:
            self._runs.append((begin, end))


def cut(runs: Runs) -> list[Runs]:
    """Return the runs in equal parts of about PIECE_SECONDS, at least one part."""
    total = length(runs)
    count = max(1, round(total / FRAMES_PER_SECOND / PIECE_SECONDS))
    edges = [round(part * total / count) for part in range(count + 1)]
    parts: list[Runs] = [[] for _ in range(count)]
    before = 0
    for begin, end in runs:
        for part, (first, last) in zip(parts, pairwise(edges), strict=True):
            left, right = max(begin, begin + first - before), min(end, begin + last - before)
            if left < right:
                part.append((left, right))
        before += end - begin
    return parts


def length(runs: Runs) -> int:
    """Return the number of frames."""
    return sum(end - begin for begin, end in runs)


def runs_of(values: Sequence[int] | npt.NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """Return (value, first index, index after the last) of each run of equal values."""
    known = np.asarray(values)
    edges = np.flatnonzero(np.diff(known)) + 1
    return [(int(known[begin]), begin, end) for begin, end in pairwise([0, *edges.tolist(), len(known)]) if begin < end]
