"""Who of three speaks in each frame of a recording, by pyannote's segmentation-3.0, window by window.

The network hears ten seconds and tells up to three speakers apart in them ("powerset": nobody, one of three, or two of
three). It does not know them in the next window. Windows overlap, so the speakers of a window are put on the three
channels on which they spoke in the windows before. A channel is one person for some seconds; over minutes it changes
its owner, which `joining` finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from transcription.speech import levelling
from transcription.speech.samples import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32Array = npt.NDArray[np.float32]
    UInt8Array = npt.NDArray[np.uint8]

WINDOW_SAMPLES = 10 * SAMPLE_RATE
# The network's frames: one for each 270 samples, which hears 991 of them. 589 fit into a window.
HOP_SAMPLES = 270
FIELD_SAMPLES = 991
WINDOW_FRAMES = 589
# A frame stands for the samples around its middle.
FRAME_OFFSET = (FIELD_SAMPLES - HOP_SAMPLES) // 2
FRAMES_PER_SECOND = SAMPLE_RATE / HOP_SAMPLES
# 5 s: every frame is heard twice. In the first minute 2.5 s: a short recording has few windows, and few voices in them,
# and its first and last seconds are in one window only. With 1 s the error is the same at twice the cost.
STEP_FRAMES = 296
FIRST_STEP_FRAMES, FIRST_FRAMES = 148, 24 * 148
# Two windows together cost a fifth less than one after the other, more together gain nothing.
BATCH_SIZE = 2
CHANNELS = 3
# Class by class, which of the three speak: never more than two.
POWERSET = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]],
    dtype=np.float32,
)
# -90 dBFS: a window without anything louder need not be heard.
INAUDIBLE = 10 ** (-90 / 20)
# How probable it must be that somebody speaks, and that two do.
LIKELY = 0.5
_ORDERS = [list(order) for order in permutations(range(CHANNELS))]

# (n, WINDOW_SAMPLES) samples of n windows -> (n, WINDOW_FRAMES, 7) log probabilities.
Network = Callable[[Samples], "Float32Array"]
# (first sample, number of samples) -> samples of the section, with zeros beyond its end.
Read = Callable[[int, int], Samples]


class Segmentation:
    """The activity of the three channels of one section of a recording, found while the section grows."""

    def __init__(self, network: Network, *, read: Read) -> None:
        self._network, self._read = network, read
        self._taper = np.hamming(WINDOW_FRAMES).astype(np.float32)[:, None]
        self._next_frame = 0
        # Sums over the windows so far, from _next_frame on: activity of the channels, of anybody, of two, and weights.
        self._sums = np.zeros((WINDOW_FRAMES, CHANNELS + 3), dtype=np.float32)

    @property
    def next_sample(self) -> int:
        """The first sample of the next window; earlier ones are not read again."""
        return self._next_frame * HOP_SAMPLES

    def advance(self, end: int) -> Iterator[UInt8Array]:
        """Yield the frames, (n, CHANNELS), that are final when the samples up to `end` are known.

        A channel that speaks has an activity from 1 to 255, others 0. At most two speak.
        """
        while self._following(BATCH_SIZE - 1) * HOP_SAMPLES + WINDOW_SAMPLES <= end:
            yield from self._hear(BATCH_SIZE)

    def finish(self, end: int) -> Iterator[UInt8Array]:
        """Yield all other frames of a section that ends at sample `end`."""
        yield from self.advance(end)
        while self.next_sample + WINDOW_SAMPLES <= end:
            yield from self._hear(1)
        count = max(1, (end - FIELD_SAMPLES) // HOP_SAMPLES + 1) - self._next_frame
        while count > 0:
            step = self._step(self._next_frame)
            self._add(*self._scores([self._next_frame]))
            # The last window reaches to the end of the section; those before it end at the next one.
            final = count if count <= WINDOW_FRAMES else step
            yield self._take(final)
            count -= final

    def _step(self, frame: int) -> int:
        """Return how far from the window at a frame the next one is."""
        return FIRST_STEP_FRAMES if frame < FIRST_FRAMES else STEP_FRAMES

    def _following(self, count: int) -> int:
        """Return the first frame of the window that comes so many windows after the next one."""
        frame = self._next_frame
        for _ in range(count):
            frame += self._step(frame)
        return frame

    def _hear(self, count: int) -> Iterator[UInt8Array]:
        """Hear the next windows, and yield the frames before the window that follows each."""
        for scores in self._scores([self._following(number) for number in range(count)]):
            step = self._step(self._next_frame)
            self._add(scores)
            yield self._take(step)

    def _add(self, scores: Float32Array) -> None:
        """Add the window at _next_frame."""
        probabilities = np.exp(scores)
        activity = probabilities @ POWERSET
        # Of these the order of the speakers does not matter, so that a wrong order loses no speech.
        counts = [probabilities[:, POWERSET.sum(axis=1) >= number].sum(axis=1) for number in (1, 2)]
        known = self._sums[:, -1] > 0
        if known.any():
            before = self._sums[known, :CHANNELS] / self._sums[known, -1:]
            activity = activity[:, stitching_order(before, activity[known])]
        self._sums += np.column_stack([activity, *counts, np.ones(WINDOW_FRAMES)]) * self._taper

    def _scores(self, frames: list[int]) -> Float32Array:
        """Return the log probabilities of the windows at these frames: (windows, WINDOW_FRAMES, 7)."""
        windows = np.stack([self._read(frame * HOP_SAMPLES, WINDOW_SAMPLES) for frame in frames])
        scores = np.full((len(windows), WINDOW_FRAMES, len(POWERSET)), -np.inf, dtype=np.float32)
        scores[:, :, 0] = 0.0  # nobody
        audible = np.abs(windows).max(axis=1) >= INAUDIBLE
        if audible.any():
            scores[audible] = self._network(
                np.stack([window * np.float32(levelling.gain(window)) for window in windows[audible]])
            )
        return scores

    def _take(self, count: int) -> UInt8Array:
        """Return the next frames, and forget them."""
        means = self._sums[:count, :-1] / self._sums[:count, -1:]
        activity, counts = means[:, :CHANNELS], (means[:, CHANNELS:] >= LIKELY).sum(axis=1)
        rank = np.argsort(np.argsort(-activity, axis=1, kind="stable"), axis=1, kind="stable")
        taken = np.clip(np.rint(activity * 255), 1, 255) * (rank < counts[:, None])
        self._next_frame += count
        self._sums = np.concatenate([self._sums[count:], np.zeros((count, CHANNELS + 3), dtype=np.float32)])
        return np.asarray(taken, dtype=np.uint8)


def stitching_order(before: Float32Array, activity: Float32Array) -> list[int]:
    """Return which speaker of a window belongs on each channel.

    before: activity of the channels so far, (n, CHANNELS). activity: of the window's speakers in the same frames.
    """
    agreement = before.T @ activity - 0.5 * np.abs(before[:, :, None] - activity[:, None, :]).sum(axis=0)
    return max(_ORDERS, key=lambda order: sum(agreement[channel, order[channel]] for channel in range(CHANNELS)))
