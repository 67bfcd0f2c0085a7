from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio, levelling
from transcription.speech.levelling import FRAME_SAMPLES, Leveller


def load(file):
    return np.concatenate(list(audio.windows(recordings.named(file).path, max_duration_ms=60_000)))


def dbfs(samples):
    return 20 * np.log10(np.sqrt((samples**2).mean()) + 1e-12)


def tone(seconds, *, dbfs, hertz=440.0):
    wave = np.sin(2 * np.pi * hertz * np.arange(int(seconds * 16_000)) / 16_000)
    return (wave * np.sqrt(2) * 10 ** (dbfs / 20)).astype(np.float32)


@pytest.mark.parametrize("level", [-20.0, -30.0, -45.0, -65.0])
def test_quiet_sound_comes_to_the_level_of_speech_and_loud_sound_stays(level):
    levelled = Leveller().level(tone(4, dbfs=level))[16_000:]
    assert dbfs(levelled) == pytest.approx(max(level, levelling.TARGET_DBFS), abs=0.5)


def test_gain_has_an_end():
    levelled = Leveller().level(tone(4, dbfs=-90.0))[16_000:]
    assert dbfs(levelled) == pytest.approx(-90 + levelling.MAX_GAIN_DB, abs=0.5)


@pytest.mark.parametrize("offset", [0.05, -0.2, 0.5])
def test_offset_is_removed_without_a_click(offset):
    levelled = Leveller().level(np.full(32_000, offset, dtype=np.float32))
    assert np.abs(levelled).max() < 1e-6


def test_hum_is_quieter_and_speech_is_not():
    hum, voice = (dbfs(Leveller().level(tone(4, dbfs=-20.0, hertz=hertz))[16_000:]) for hertz in (25.0, 1_000.0))
    assert hum < -25.5
    assert voice == pytest.approx(-20, abs=0.5)


def test_quiet_sound_beside_loud_sound_is_brought_half_of_the_way_within_a_second():
    both = np.concatenate([tone(3, dbfs=-15.0), tone(3, dbfs=-50.0)])
    levelled = Leveller().level(both)
    assert dbfs(levelled[: 3 * 16_000]) == pytest.approx(-15, abs=0.5)
    assert dbfs(levelled[4 * 16_000 :]) == pytest.approx(-32.5, abs=1.5)


def test_loud_sound_is_forgotten_in_a_minute():
    both = np.concatenate([tone(1, dbfs=-15.0), tone(60, dbfs=-50.0)])
    assert dbfs(Leveller().level(both)[55 * 16_000 :]) == pytest.approx(levelling.TARGET_DBFS, abs=0.5)


def test_loud_sound_behind_quiet_sound_is_hardly_clipped():
    both = np.concatenate([tone(3, dbfs=-50.0), tone(3, dbfs=-15.0)])
    levelled = Leveller().level(both)
    assert (np.abs(levelled) >= 1).sum() <= FRAME_SAMPLES
    assert dbfs(levelled[3 * 16_000 + 2 * FRAME_SAMPLES :]) == pytest.approx(-15, abs=0.5)


@pytest.mark.long
@pytest.mark.parametrize("size", [FRAME_SAMPLES, 5 * FRAME_SAMPLES, 30 * FRAME_SAMPLES])
def test_windows_leave_no_trace(size):
    samples = load("dialogue.flac") * np.float32(0.01) + np.float32(0.05)
    whole = Leveller().level(samples)
    leveller = Leveller()
    parts = [leveller.level(samples[at : at + size]) for at in range(0, len(samples), size)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_nothing_stays_nothing():
    assert len(Leveller().level(np.zeros(0, dtype=np.float32))) == 0
    assert not Leveller().level(np.zeros(10_000, dtype=np.float32)).any()


@pytest.mark.parametrize(("level", "expected_db"), [(-10, 0), (-26, 0), (-40, 14), (-60, 34), (-90, 46)])
def test_gain_of_a_stretch_is_that_of_its_loudest_part(level, expected_db):
    samples = np.concatenate([tone(2, dbfs=level), np.zeros(16_000, dtype=np.float32)])
    assert 20 * np.log10(levelling.gain(samples)) == pytest.approx(expected_db, abs=0.3)


def test_gain_of_too_little_is_one():
    assert levelling.gain(np.zeros(100, dtype=np.float32)) == 1.0
