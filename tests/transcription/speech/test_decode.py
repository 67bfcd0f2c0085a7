import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.fixtures import hostile
from transcription.speech import audio, decode, errors

AUDIO = Path(__file__).resolve().parents[2] / "fixtures" / "audio"
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    "name", ["dialogue.mp3", "dialogue.flac", "sentence-slt.mp4", "sentence-slt.opus", "silence.wav"]
)
def test_child_gives_the_same_samples(name):
    ours = np.concatenate(list(audio.windows(AUDIO / name, max_duration_ms=HOUR_MS)))
    childs = np.concatenate(list(decode.windows(AUDIO / name, max_duration_ms=HOUR_MS)))
    assert childs.dtype == np.float32
    assert np.array_equal(ours, childs)


def test_windows_have_the_wished_length():
    lengths = [
        len(window) for window in decode.windows(AUDIO / "dialogue.mp3", max_duration_ms=HOUR_MS, window_ms=1000)
    ]
    assert set(lengths[:-1]) == {16_000}
    assert 0 < lengths[-1] <= 16_000


@pytest.mark.parametrize("make", [hostile.text, hostile.random_bytes, hostile.playlist, hostile.image, hostile.no_moov])
def test_errors_of_the_child_are_raised_here(make, tmp_path):
    with pytest.raises(errors.AudioError):
        list(decode.windows(make(tmp_path), max_duration_ms=HOUR_MS))


def test_length_is_bounded_while_decoding(tmp_path):
    with pytest.raises(errors.AudioTooLong):
        for _ in decode.windows(hostile.flac_bomb(tmp_path), max_duration_ms=HOUR_MS):
            pass


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "speech.decode" in " ".join(child.cmdline())]


def test_child_ends_with_its_reader(tmp_path):
    windows = decode.windows(hostile.flac_bomb(tmp_path), max_duration_ms=50 * HOUR_MS, window_ms=1000)
    next(windows)
    assert children()
    windows.close()
    assert not children()


def test_killed_child_is_an_error(tmp_path):
    windows = decode.windows(hostile.flac_bomb(tmp_path), max_duration_ms=50 * HOUR_MS, window_ms=1000)
    next(windows)
    children()[0].kill()
    with pytest.raises(errors.NotAudio):
        list(windows)


def test_hanging_child_is_an_error(tmp_path):
    windows = decode.windows(
        hostile.flac_bomb(tmp_path), max_duration_ms=50 * HOUR_MS, window_ms=1000, stall_seconds=0.5
    )
    next(windows)
    children()[0].suspend()
    started = time.monotonic()
    with pytest.raises(errors.NotAudio, match="too long"):
        list(windows)
    assert time.monotonic() - started < 10
    assert not children()


def test_child_knows_none_of_our_secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_KEY", "a secret")
    windows = decode.windows(hostile.flac_bomb(tmp_path), max_duration_ms=50 * HOUR_MS, window_ms=1000)
    next(windows)
    assert "SECRET_KEY" not in children()[0].environ()
    windows.close()
