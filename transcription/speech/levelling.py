"""Brings speech to a level that networks were trained on. Only networks hear the result, never an engine or a person.

Silero hears nothing below about -60 dBFS, and nothing on top of a constant offset of 0.05. Beside a loud voice it does
not hear a voice that is 30 dB quieter. docs/quality.md has the figures with and without this module.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from transcription.speech.samples import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Float64Array = npt.NDArray[np.float64]

FRAME_SAMPLES = 512
_FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
# Removes a constant offset and about half of the hum of mains. Of speech it takes what telephones take anyway.
HIGH_PASS_HZ = 90.0
# Usual level of recorded speech, and the most that a quiet recording is amplified by: 16 bits hold no more.
TARGET_DBFS = -26.0
MAX_GAIN_DB = 46.0
# The level of the recording follows its loudest frames, and is forgotten slowly: a minute of silence does not matter.
RELEASE_DB_PER_SECOND = 1.0
# What is quieter than the recording, such as a voice far from the microphone, is brought half of the way (2:1). All of
# the way, the noise of rooms is taken for speech three times as often as without a leveller.
COMPRESSION = 0.5
COMPRESSION_DB_PER_SECOND = 60.0
_SILENCE_DBFS = -120.0


class Leveller:
    """Compresses one recording, window by window in order. Use a new leveller for the next recording.

    The gain lifts the level of the recording to TARGET_DBFS, and quieter stretches by half of the rest. It falls at
    once where the sound gets louder, so that nothing is above TARGET_DBFS that was not before.
    """

    def __init__(self) -> None:
        self._before = math.nan  # the last sample; none yet
        self._carry = 0.0  # the last sample after the high-pass filter
        self._recording_db = self._stretch_db = _SILENCE_DBFS
        self._gain_db = math.nan

    def level(self, samples: Samples) -> Samples:
        """Return the samples without offset and hum, with quiet stretches amplified, cut to -1 to 1.

        samples: a whole number of frames of FRAME_SAMPLES, except at the end of the recording.
        """
        import numpy as np

        if not len(samples):
            return samples
        padded = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES), mode="edge")
        frames = self._without_offset(padded).reshape(-1, FRAME_SAMPLES)
        levels_db = 10 * np.log10(np.maximum((frames**2).mean(axis=1), 10 ** (_SILENCE_DBFS / 10)))
        ramps = np.linspace(0, 1, FRAME_SAMPLES)
        gains_db = np.array([self._follow(level_db) for level_db in levels_db.tolist()])
        # From the gain of the frame before to that of this frame: a step would be a click.
        before_db = np.concatenate([[gains_db[0] if math.isnan(self._gain_db) else self._gain_db], gains_db[:-1]])
        self._gain_db = float(gains_db[-1])
        curves_db = before_db[:, None] + (gains_db - before_db)[:, None] * ramps
        louder = np.clip(frames * 10 ** (curves_db / 20), -1, 1).astype(np.float32)
        return np.asarray(louder.reshape(-1)[: len(samples)])

    def _follow(self, level_db: float) -> float:
        """Take the level of the next frame and return its gain."""
        self._recording_db = max(level_db, self._recording_db - RELEASE_DB_PER_SECOND * _FRAME_SECONDS)
        self._stretch_db = max(level_db, self._stretch_db - COMPRESSION_DB_PER_SECOND * _FRAME_SECONDS)
        gain_db = max(0.0, TARGET_DBFS - self._recording_db) + COMPRESSION * (self._recording_db - self._stretch_db)
        return min(gain_db, max(0.0, TARGET_DBFS - self._stretch_db), MAX_GAIN_DB)

    def _without_offset(self, samples: Samples) -> Float64Array:
        """Return the samples after a high-pass filter of one pole: y[n] = a y[n-1] + (1 + a) / 2 (x[n] - x[n-1]).

        Within a frame the recursion is a sum with growing weights, which numpy can do; only frames are a loop.
        """
        import numpy as np

        pole, powers = _high_pass()
        known = samples.astype(np.float64)
        first = known[0] if math.isnan(self._before) else self._before
        steps = np.diff(known, prepend=first).reshape(-1, FRAME_SAMPLES) * ((1 + pole) / 2)
        alone = np.cumsum(steps / powers, axis=1) * powers
        carries = np.empty(len(alone))
        carry = self._carry
        for number, last in enumerate(alone[:, -1].tolist()):
            carries[number] = carry
            carry = last + carry * powers[-1]
        self._before, self._carry = float(known[-1]), carry
        return np.asarray((alone + carries[:, None] * powers).reshape(-1))


def gain(samples: Samples) -> float:
    """Return the factor, at least 1, that brings a stretch with some speech to TARGET_DBFS, up to MAX_GAIN_DB."""
    import numpy as np

    frames = samples[: len(samples) - len(samples) % FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    if not len(frames):
        return 1.0
    loud = float(np.sqrt(np.percentile(np.einsum("ij,ij->i", frames, frames) / FRAME_SAMPLES, 95)))
    return float(min(max(1.0, 10 ** (TARGET_DBFS / 20) / max(loud, 1e-9)), 10 ** (MAX_GAIN_DB / 20)))


@lru_cache(maxsize=1)
def _high_pass() -> tuple[float, Float64Array]:
    """Return (pole, its powers from 1 to FRAME_SAMPLES)."""
    import numpy as np

    pole = math.exp(-2 * math.pi * HIGH_PASS_HZ / SAMPLE_RATE)
    return pole, np.asarray(pole ** np.arange(1, FRAME_SAMPLES + 1), dtype=np.float64)
