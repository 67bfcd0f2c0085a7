from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures.encoding import tone
from transcription.speech.mixing import BLOCK, Limiter, Mixer


def mixed(*tracks, mixer=None):
    """Return the mix of whole tracks, block by block."""
    mixer = mixer or Mixer()
    starts = range(0, tracks[0].shape[1], BLOCK)
    return np.concatenate([mixer.mix([track[:, at : at + BLOCK] for track in tracks]) for at in starts])


def loudness(sound):
    return float(np.sqrt(np.mean(sound**2)))


@pytest.mark.parametrize("channels", [1, 2, 6, 16])
def test_equal_channels_keep_their_level(channels):
    assert np.abs(mixed(tone(2, channels=channels, level=0.9))).max() == pytest.approx(0.9, abs=0.001)


@pytest.mark.parametrize("gain", [-1.0, -0.8, -0.1])
def test_reversed_channel_does_not_cancel(gain):
    one = tone(2)
    heard = mixed(np.vstack([one, gain * one]))
    assert loudness(heard) >= loudness(one) * 0.5


def test_two_of_four_reversed_channels_do_not_cancel():
    one = tone(2)
    assert np.allclose(np.abs(mixed(np.vstack([one, -one, one, -one]))), np.abs(one[0]), atol=1e-5)


@pytest.mark.parametrize("degrees", [(0, 90), (0, 90, 180, 270), (0, 120, 240), (0, 180, 90), (0, 170, 10, 190)])
def test_shifted_phases_do_not_cancel(degrees):
    """Decoders of old surround sound, and microphones at a distance, turn the phase."""
    at = np.arange(32_000) / 16_000
    sound = np.stack([0.4 * np.sin(2 * np.pi * 440 * at + np.deg2rad(one)) for one in degrees]).astype(np.float32)
    assert loudness(mixed(sound)) >= loudness(tone(2)) * 0.4


@pytest.mark.parametrize("azimuth", [0, 90, 180, 225, 270])
def test_speech_from_any_side_of_an_ambisonic_microphone_is_heard(azimuth):
    """Four channels (AmbiX): all around, and the axes left, up and front, each with a front and a reversed back."""
    voice, angle = tone(2)[0], np.deg2rad(azimuth)
    heard = mixed(np.stack([voice, voice * np.sin(angle), voice * 0, voice * np.cos(angle)]).astype(np.float32))
    assert loudness(heard) >= loudness(voice) * 0.5


def test_reversed_track_does_not_cancel():
    assert loudness(mixed(tone(2), -tone(2))) == pytest.approx(loudness(tone(2)), rel=0.01)


def test_polarity_that_changes_in_the_middle_is_followed():
    one = tone(10)
    other = np.hstack([one[:, :80_000], -one[:, 80_000:]])
    heard = mixed(np.vstack([one, other]))
    assert loudness(heard[-40_000:]) == pytest.approx(loudness(one), rel=0.01)


@pytest.mark.parametrize(("channels", "number"), [(3, 2), (10, 9), (16, 0), (64, 63)])
def test_only_channel_with_sound_is_heard_at_its_level(channels, number):
    sound = np.zeros((channels, 32_000), dtype=np.float32)
    sound[number] = tone(2)[0]
    assert np.abs(mixed(sound)).max() == pytest.approx(0.4, abs=0.001)


def test_independent_channels_have_equal_weight():
    random = np.random.default_rng(3)
    sound = random.normal(0, 0.1, (2, 64_000)).astype(np.float32)
    assert np.allclose(mixed(sound), sound.mean(axis=0), atol=1e-6)


def test_channel_that_begins_later_makes_no_click():
    sound = np.vstack([tone(2), np.hstack([np.zeros((1, 16_000)), tone(1)])]).astype(np.float32)
    steps = np.abs(np.diff(mixed(sound)))
    assert steps.max() < 2 * np.abs(np.diff(tone(2)[0])).max()


@pytest.mark.parametrize("scale", [1.41, 100.0, 32_768.0])
def test_too_loud_sound_is_made_quieter_and_not_clipped(scale):
    limiter = Limiter()
    sound = tone(1, level=scale)[0]
    heard = np.concatenate([limiter.limit(sound[at : at + BLOCK]) for at in range(0, len(sound), BLOCK)])
    assert np.abs(heard).max() <= 1
    assert np.corrcoef(heard, sound)[0, 1] > 0.999


def test_single_spike_does_not_silence_the_rest():
    sound = tone(0.25)[0]
    sound[100] = 1e5
    assert loudness(Limiter().limit(sound)) == pytest.approx(loudness(tone(0.25)), rel=0.05)


def test_what_is_no_number_becomes_silence():
    assert Limiter().limit(np.array([np.nan, 0.5], dtype=np.float32)).tolist() == [0.0, 0.5]
