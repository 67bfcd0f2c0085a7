"""How loud a recording is from its beginning to its end, in few numbers, for pages to draw it."""

from __future__ import annotations

from collections.abc import Sequence

from transcription.speech.samples import SAMPLE_RATE, Samples

# Bars of the drawing. A page of 800 pixels shows no more.
COUNT = 400
# Loudest sample of each 20th of a second: ten hours are 720,000 bytes.
STEP_SAMPLES = SAMPLE_RATE // 20
TOP = 100
# What is quieter than this at its loudest is drawn as silence.
MIN_PEAK = 0.002


class Waveform:
    """Collects the loudest samples of a recording, or of one channel.

    As the square root of their amplitude: what is a tenth as loud as the loudest is a third of a bar, and no line.
    """

    def __init__(self) -> None:
        self._peaks = bytearray()

    def add(self, window: Samples) -> None:
        """Add the next part, a whole number of steps; only the last may have another length."""
        import numpy as np

        if not len(window):
            return
        starts = np.arange(0, len(window), STEP_SAMPLES)
        peaks = np.maximum.reduceat(np.abs(window), starts)
        self._peaks += np.rint(255 * np.sqrt(np.clip(peaks, 0, 1))).astype(np.uint8).tobytes()

    def join(self, other: Waveform) -> None:
        """Add another channel of the same recording: of each step the louder one counts."""
        one, two = self._peaks, other._peaks
        if len(one) < len(two):
            one, two = two, one
        self._peaks = bytearray(map(max, one, two)) + one[len(two) :]

    def peaks(self, *, count: int = COUNT) -> tuple[int, ...]:
        """Return the heights of so many bars, from 0 to TOP, of fewer for a short recording. The loudest one is TOP.

        Empty for a recording without a sound.
        """
        steps = len(self._peaks)
        loudest = max(self._peaks, default=0)
        if loudest <= 255 * MIN_PEAK**0.5:
            return ()
        bars = min(count, steps)
        heights = (max(self._peaks[bar * steps // bars : (bar + 1) * steps // bars]) for bar in range(bars))
        return tuple(round(TOP * height / loudest) for height in heights)


def bars_of(
    peaks: Sequence[int], *, duration_ms: int, spoken: Sequence[tuple[int, int, int]]
) -> list[tuple[int | None, str]]:
    """Return the drawing: (position of the speaker or None, path of an SVG), for each speaker that has a bar.

    A bar belongs to whoever speaks in its middle. The view is one unit wide for each bar and TOP high.
    spoken: (start_ms, end_ms, position of the speaker), sorted by start.
    """
    paths: dict[int | None, list[str]] = {}
    at = 0
    for number, height in enumerate(peaks):
        middle_ms = (2 * number + 1) * duration_ms // (2 * len(peaks))
        while at < len(spoken) and spoken[at][1] <= middle_ms:
            at += 1
        is_spoken = at < len(spoken) and spoken[at][0] <= middle_ms
        # A bar of no height is a dot, so that silence is a line.
        drawn = max(2, height)
        paths.setdefault(spoken[at][2] if is_spoken else None, []).append(f"M{number} {(TOP - drawn) // 2}v{drawn}")
    return [(position, "".join(parts)) for position, parts in paths.items()]
