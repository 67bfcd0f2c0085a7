from __future__ import annotations

import numpy as np
import pytest

from transcription.speech.diarizers import filterbank


def tone(hertz, *, seconds=1.0, loudness=0.1):
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(int(seconds * 16_000)) / 16_000)).astype(np.float32)


def test_there_is_one_row_for_each_whole_window():
    assert filterbank.log_mel(np.zeros(400, dtype=np.float32)).shape == (1, filterbank.BINS)
    assert filterbank.log_mel(np.zeros(399, dtype=np.float32)).shape == (0, filterbank.BINS)
    assert filterbank.log_mel(np.zeros(16_000, dtype=np.float32)).shape == (98, filterbank.BINS)


@pytest.mark.parametrize("hertz", [200, 1_000, 4_000, 7_500])
def test_tone_is_loudest_in_the_filter_of_its_pitch(hertz):
    edges = np.linspace(filterbank._mel(20.0), filterbank._mel(8_000.0), filterbank.BINS + 2)
    expected = np.abs(edges[1:-1] - filterbank._mel(hertz)).argmin()
    rows = filterbank.log_mel(tone(hertz))
    assert abs(int(rows.mean(axis=0).argmax()) - expected) <= 1


def test_twice_as_loud_is_the_same_shift_in_every_filter():
    """So loudness is gone when the mean over time is subtracted."""
    noise = np.random.default_rng(0).normal(0, 0.05, 8_000).astype(np.float32)
    difference = filterbank.log_mel(2 * noise) - filterbank.log_mel(noise)
    assert np.allclose(difference, 2 * np.log(2), atol=1e-3)


def test_offset_is_not_heard():
    noise = np.random.default_rng(0).normal(0, 0.05, 8_000).astype(np.float32)
    assert np.allclose(filterbank.log_mel(noise + np.float32(0.3)), filterbank.log_mel(noise), atol=1e-2)


def test_silence_is_the_floor():
    assert np.allclose(filterbank.log_mel(np.zeros(4_000, dtype=np.float32)), np.log(1.1920929e-07))
