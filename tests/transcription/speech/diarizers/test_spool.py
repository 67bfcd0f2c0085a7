from __future__ import annotations

import os
import stat
import time

import numpy as np
import pytest

from transcription.speech.diarizers import spool
from transcription.speech.diarizers.spool import Spool
from transcription.speech.samples import ms_to_samples


@pytest.fixture
def made(tmp_path):
    one = Spool(tmp_path)
    yield one
    one.close()


def test_clips_keep_their_place_in_time(made):
    made.add(100, np.full(ms_to_samples(10), 0.5, dtype=np.float32))
    made.add(500, np.full(ms_to_samples(20), -0.25, dtype=np.float32))
    assert made.spans == [(100, 110), (500, 520)]
    whole = spool.read(made.path)
    assert (whole.dtype, len(whole)) == (np.float32, ms_to_samples(520))
    assert not whole[: ms_to_samples(100)].any()
    assert not whole[ms_to_samples(110) : ms_to_samples(500)].any()
    assert whole[ms_to_samples(105)] == 0.5
    assert [(start_ms, len(samples), samples[0]) for start_ms, samples in made.clips()] == [
        (100, ms_to_samples(10), 0.5),
        (500, ms_to_samples(20), -0.25),
    ]


def test_too_loud_samples_are_cut(made):
    made.add(0, np.array([2.0, -2.0], dtype=np.float32))
    assert spool.read(made.path).tolist() == [32767 / 32768, -1.0]


def test_file_is_for_its_owner_only_and_goes_when_closed(made):
    made.add(0, np.zeros(16, dtype=np.float32))
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    made.close()
    assert not made.path.exists()


def test_what_killed_processes_left_is_removed(tmp_path):
    old, recent, foreign = (tmp_path / name for name in ("recording-a.pcm", "recording-b.pcm", "engine.sock"))
    for path in (old, recent, foreign):
        path.touch()
    long_ago = time.time() - spool.ABANDONED_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    os.utime(foreign, (long_ago, long_ago))
    Spool(tmp_path).close()
    assert {path.name for path in tmp_path.iterdir()} == {"recording-b.pcm", "engine.sock"}
