import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.fixtures import hostile
from tests.transcription.speech.zygotes import compromised
from transcription.speech import audio, children, decode, errors
from transcription.speech.samples import SAMPLE_RATE, ms_to_samples

AUDIO = Path(__file__).resolve().parents[2] / "fixtures" / "audio"
HOUR_MS = 3_600_000


@pytest.mark.long
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
    assert set(lengths[:-1]) == {SAMPLE_RATE}
    assert 0 < lengths[-1] <= SAMPLE_RATE


@pytest.mark.parametrize("make", [hostile.text, hostile.random_bytes, hostile.playlist, hostile.image, hostile.no_moov])
def test_errors_of_the_child_are_raised_here(make, tmp_path):
    with pytest.raises(errors.AudioError):
        list(decode.windows(make(tmp_path), max_duration_ms=HOUR_MS))


@pytest.mark.long
def test_length_is_bounded_while_decoding(tmp_path):
    with pytest.raises(errors.AudioTooLong):
        for _ in decode.windows(hostile.flac_bomb(tmp_path), max_duration_ms=HOUR_MS):
            pass


def running() -> list[psutil.Process]:
    """Return the children that the zygote of this process has forked and not reaped."""
    children.ensure_zygote()
    return psutil.Process(children.ZYGOTES.started[-1].pid).children()


def none_is_left() -> bool:
    deadline = time.monotonic() + 10
    while running() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not running()


def test_child_ends_with_its_reader(tmp_path):
    windows = decode.windows(hostile.flac_bomb(tmp_path), max_duration_ms=50 * HOUR_MS, window_ms=1000)
    next(windows)
    assert running()
    windows.close()
    assert none_is_left()


def test_killed_child_is_an_error(tmp_path):
    windows = decode.windows(hostile.flac_bomb(tmp_path), max_duration_ms=50 * HOUR_MS, window_ms=1000)
    next(windows)
    running()[0].kill()
    with pytest.raises(errors.NotAudio):
        list(windows)


@pytest.mark.long
def test_hanging_child_is_an_error(tmp_path):
    windows = decode.windows(hostile.flac_bomb(tmp_path), max_duration_ms=50 * HOUR_MS, window_ms=1000, stall_seconds=2)
    next(windows)
    running()[0].suspend()
    with pytest.raises(errors.NotAudio, match="too long"):
        list(windows)
    assert none_is_left()


@pytest.mark.long
def test_more_sound_than_the_longest_recording_is_refused():
    """A compromised decoder does not limit what it sends."""
    heard = []
    with compromised() as zygotes, pytest.raises(errors.NotAudio):
        heard.extend(map(len, decode.windows(AUDIO / "silence.wav", max_duration_ms=3_000, zygotes=zygotes)))
    assert sum(heard) == ms_to_samples(3_000 + audio.LENGTH_SLACK_MS)
