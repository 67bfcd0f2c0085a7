"""Log mel filterbank, the input of CAM++: that of Kaldi's `compute-fbank-feats` with 80 bins and without dither.

Samples are from -1 to 1, not 16-bit numbers as Kaldi has them; CAM++ was trained so. On speech the result equals
torchaudio's `kaldi.fbank` within 0.0003.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from transcription.speech.samples import SAMPLE_RATE, Samples, ms_to_samples

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32Array = npt.NDArray[np.float32]

BINS = 80
_HOP, _LENGTH, _FFT = ms_to_samples(10), ms_to_samples(25), 512
_MIN_HZ, _MAX_HZ = 20.0, SAMPLE_RATE / 2
_PRE_EMPHASIS = np.float32(0.97)
_FLOOR = np.finfo(np.float32).eps


def log_mel(samples: Samples) -> Float32Array:
    """Return one row of BINS for each 10 ms that has 25 ms of samples from there on: (n, BINS)."""
    if len(samples) < _LENGTH:
        return np.zeros((0, BINS), dtype=np.float32)
    window, mel = _tables()
    frames = np.lib.stride_tricks.sliding_window_view(samples, _LENGTH)[::_HOP].astype(np.float32)
    frames -= frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = np.fft.rfft((frames - _PRE_EMPHASIS * before) * window, _FFT)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.asarray(np.log(np.maximum(power @ mel, _FLOOR)), dtype=np.float32)


@lru_cache(maxsize=1)
def _tables() -> tuple[Float32Array, Float32Array]:
    """Return (window: (_LENGTH,), filters: (_FFT / 2 + 1, BINS))."""
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_LENGTH) / (_LENGTH - 1))) ** 0.85  # "povey"
    edges = np.linspace(_mel(_MIN_HZ), _mel(_MAX_HZ), BINS + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    at = _mel(np.arange(_FFT // 2 + 1) * SAMPLE_RATE / _FFT)[:, None]
    filters = np.maximum(0.0, np.minimum((at - left) / (centre - left), (right - at) / (right - centre)))
    return window.astype(np.float32), filters.astype(np.float32)


def _mel(hertz: float | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))
