"""Mixes the channels of a recording into one, without loss of words. Numpy is imported on use.

FFmpeg mixes as for a cinema: it raises the level, so that loud sound is clipped, drops channels whose place it does not
know, and cancels a channel whose polarity is reversed. Here each channel counts the same (decision 26).
"""

from __future__ import annotations

from transcription.speech.samples import SAMPLE_RATE, Samples

# -60 dB of full scale. A channel that was never louder has no weight: else the one microphone in use on an interface of
# 16 inputs would be 24 dB too quiet.
MIN_ACTIVE_RMS = 0.001
# Polarity is judged over about this many blocks.
MEMORY_BLOCKS = 8
MAX_CANCELLING_CORRELATION = -0.5
BLOCK = SAMPLE_RATE // 4
RAMP = SAMPLE_RATE // 100
# Sound beyond full scale: the level comes back by this factor per block.
RELEASE = 2.0


class Mixer:
    """Mixes blocks of up to a quarter of a second. Remembers the level and polarity of each channel."""

    def __init__(self) -> None:
        self._states: dict[tuple[int, int], _ChannelState] = {}

    def mix(self, tracks: list[Samples]) -> Samples:
        """Return the mono mix of one block.

        tracks: one array of shape (channels, n) for each track, all of the same n.
        """
        import numpy as np

        keyed = [((number, channel), row) for number, rows in enumerate(tracks) for channel, row in enumerate(rows)]
        if len(keyed) == 1:
            only: Samples = keyed[0][1]
            return only
        states = [self._states.setdefault(key, _ChannelState()) for key, _ in keyed]
        rows = np.stack([row for _, row in keyed])
        energies = np.einsum("ij,ij->i", rows, rows, dtype=np.float64) / max(1, rows.shape[1])
        for state, energy in zip(states, energies, strict=True):
            state.is_active = state.is_active or energy > MIN_ACTIVE_RMS**2
        active = sum(state.is_active for state in states)
        so_far = np.zeros(rows.shape[1], dtype=np.float32)
        mixed = np.zeros(rows.shape[1], dtype=np.float32)
        for row, state, energy in zip(rows, states, energies, strict=True):
            sign = state.judge(float(np.dot(row, so_far)), float(np.dot(so_far, so_far)), energy * rows.shape[1])
            weight = sign * (state.is_active / active if active else 1 / len(states))
            before = weight if state.weight is None else state.weight
            if before == weight:
                mixed += row * np.float32(weight)
            else:  # a step would be a click
                ramp = np.full(rows.shape[1], weight, dtype=np.float32)
                size = min(RAMP, len(ramp))
                ramp[:size] = np.linspace(before, weight, size, dtype=np.float32)
                mixed += row * ramp
            state.weight = weight
            so_far += row * np.float32(sign)
        return mixed


class _ChannelState:
    """What is known about one channel: whether it was ever heard, and how it goes with the channels before it."""

    def __init__(self) -> None:
        self.is_active = False
        self.weight: float | None = None
        self._sign = 1.0
        self._product = self._own = self._other = 0.0

    def judge(self, product: float, other: float, own: float) -> float:
        """Return 1.0, or -1.0 for a channel that would cancel the sum of the channels before it."""
        keep = 1 - 1 / MEMORY_BLOCKS
        self._product = self._product * keep + product
        self._own = self._own * keep + own
        self._other = self._other * keep + other
        scale = (self._own * self._other) ** 0.5
        correlation = self._product / scale if scale > 0 else 0.0
        if correlation <= MAX_CANCELLING_CORRELATION:
            self._sign = -1.0
        elif correlation >= 0:
            self._sign = 1.0
        return self._sign


class Limiter:
    """Brings sound into -1 to 1. Float files may hold any scale, NaN and infinity, which must not reach a model."""

    def __init__(self) -> None:
        self._gain = 1.0

    def limit(self, block: Samples) -> Samples:
        """Return the block, made quieter if it exceeds full scale. Single spikes are clipped."""
        import numpy as np

        block = np.nan_to_num(block, nan=0.0, posinf=1.0, neginf=-1.0)
        peak = float(np.max(np.abs(block), initial=0.0))
        wanted = 1.0
        if peak > 1:
            wanted = 1 / max(1.0, float(np.quantile(np.abs(block), 0.999)))
        self._gain = min(wanted, self._gain * RELEASE)
        if self._gain < 1:
            block = block * np.float32(self._gain)
        return np.clip(block, -1.0, 1.0).astype(np.float32, copy=False)
