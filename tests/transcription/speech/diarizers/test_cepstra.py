from __future__ import annotations

import numpy as np
import pytest

from transcription.speech.diarizers import cepstra
from transcription.speech.samples import SAMPLE_RATE


def tones(seconds):
    at = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * 220 * at) + 0.1 * np.sin(2 * np.pi * 1_900 * at)).astype(np.float32)


def test_cepstra_are_kaldis():
    """The numbers are those of kaldi-native-fbank 1.22: dither 0, 30 mel bins from 60 to 6,800 Hz, 17 cepstra."""
    found, _ = cepstra.frames(tones(1.0))
    assert found[3, :8] == pytest.approx([66.932, -38.792, 105.085, 115.646, -30.408, -68.233, 55.48, 24.62], abs=0.05)


def test_one_frame_every_10_ms():
    assert cepstra.frames(tones(2.0))[0].shape == (198, cepstra.SIZE)


@pytest.mark.parametrize("length", [0, 1, 399])
def test_less_than_a_frame_is_one_frame(length):
    found, is_voiced = cepstra.frames(np.zeros(length, dtype=np.float32))
    assert (found.shape, is_voiced.tolist()) == ((1, cepstra.SIZE), [True])


def test_digital_silence_is_a_number():
    found, _ = cepstra.frames(np.zeros(SAMPLE_RATE, dtype=np.float32))
    assert np.isfinite(found).all()


def test_pauses_carry_no_voice():
    samples = np.concatenate([tones(0.5), np.zeros(8_000, dtype=np.float32)])
    _, is_voiced = cepstra.frames(samples)
    assert is_voiced[5:45].all()
    assert not is_voiced[55:].any()
