from __future__ import annotations

import os
import signal
import sys

import psutil
import pytest

from tests.fixtures import hostile
from tests.transcription.speech.zygotes import end_zygote, owner, probe, zygote
from transcription.speech import children


@pytest.mark.long
def test_zygote_has_none_of_our_environment(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "a secret")
    end_zygote()
    assert zygote().environ() == children.ENVIRONMENT


@pytest.mark.long
def test_zygote_has_none_of_our_descriptors(tmp_path):
    inherited = os.open(tmp_path / "kept", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(inherited, True)
    end_zygote()
    probe()
    assert zygote().open_files() == []
    os.close(inherited)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_nothing_outlives_its_owner(number, tmp_path):
    bomb = hostile.flac_bomb(tmp_path)
    program = f"windows = decode.windows({str(bomb)!r}, max_duration_ms=10**9, window_ms=1000)\n"
    program += "next(windows); print(children.ZYGOTES.started[0].pid, flush=True); time.sleep(600)"
    process = owner(program)
    with process:
        assert process.stdout is not None
        started = psutil.Process(int(process.stdout.readline()))
        left = [started, *started.children()]
        assert len(left) == 2
        process.send_signal(number)
        process.wait(timeout=60)
    _, alive = psutil.wait_procs(left, timeout=60)
    assert alive == []


def test_signal_to_the_group_of_the_owner_leaves_the_recording_at_hand():
    """The supervisor stops a process by a signal to its group. The process may still need children before it ends."""
    assert os.getsid(zygote().pid) != os.getsid(0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_the_zygote_stays_flat():
    probes = 0
    after = {}
    for wanted in (50, 550):
        while probes < wanted:
            probe()
            probes += 1
        after[wanted] = zygote().memory_full_info().uss
        descriptors = zygote().num_fds()
    assert after[550] - after[50] < 512 * 1024
    assert descriptors < 12
