"""Decoded audio in memory: the array type, its sample rate, and the conversion between samples and milliseconds.

No other module of the product states the sample rate. Importing this module does not import numpy, so the web process
may import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Mono audio: (n,) float32 from -1 to 1, SAMPLE_RATE samples a second.
Samples: TypeAlias = "npt.NDArray[np.float32]"

SAMPLE_RATE = 16_000
SAMPLES_PER_MS = SAMPLE_RATE // 1000
BYTES_PER_SAMPLE = 4


def ms_to_samples(milliseconds: int) -> int:
    """Return the number of samples that last this long."""
    return milliseconds * SAMPLES_PER_MS


def samples_to_ms(count: int) -> int:
    """Return how long this many samples last, in whole milliseconds; a rest of less than a millisecond is dropped."""
    return count // SAMPLES_PER_MS
