"""What a decoder can do that a crafted file has compromised, and what happens when processes die."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fixtures import hostile
from tests.transcription.speech import attacks
from tests.transcription.speech.zygotes import (
    HOUR_MS,
    SOUND,
    compromised,
    end_zygote,
    owner,
    probe,
    wait,
    zygote,
    zygotes,
)
from transcription.speech import children, confinement, decode, errors, probing, syscall_filter
from transcription.speech.children import Child, Zygotes


@pytest.fixture(scope="class")
def zygotes_of_attacks() -> Iterator[Zygotes]:
    """Tests share a zygote until it ends."""
    with compromised() as zygotes:
        yield zygotes


@pytest.fixture
def child(zygotes_of_attacks: Zygotes) -> Callable[..., AbstractContextManager[Child]]:
    """Returns a child that does what a crafted file has made it do."""

    def start(name: str, *, stall_seconds: float = 10, **arguments: str) -> AbstractContextManager[Child]:
        return children.child(
            "attack", SOUND, stall_seconds=stall_seconds, zygotes=zygotes_of_attacks, attack=name, **arguments
        )

    return start


@pytest.fixture
def attack(child: Callable[..., AbstractContextManager[Child]]) -> Callable[..., object]:
    """Returns what a child answers that does what a crafted file has made it do."""

    def run(name: str, **arguments: Any) -> object:
        with child(name, **arguments) as attacker:
            for _ in attacker.blocks():
                pass
            return attacker.answer["seen"]

    return run


class TestCompromisedChild:
    """A child that a file has compromised ..."""

    def test_sees_only_what_decoding_needs(self, attack, zygotes_of_attacks, monkeypatch):
        zygotes_of_attacks.end()
        monkeypatch.setenv("SECRET_KEY", "a secret")
        assert attack("environment") == children.ENVIRONMENT

    def test_has_the_recording_the_pipe_and_nothing_else(self, attack, child):
        """It has no descriptor of the owner, of the zygote or of another child."""
        with child("sleep"):
            assert attack("descriptors") == [0, 1, 2]
        assert attack("reads") == "RIFF"

    def test_writes_nothing_to_our_log(self, attack):
        assert attack("complaints") == Path(os.devnull).stat().st_rdev

    @pytest.mark.parametrize("name", ["file", "owner", "socket", "duplicate"])
    def test_gets_no_other_descriptor(self, attack, name):
        by_limits = "OSError 22" if name == "duplicate" else "OSError 24"
        assert attack(name) == ("PermissionError 1" if syscall_filter.is_offered() else by_limits)

    @pytest.mark.skipif(not syscall_filter.is_offered(), reason="this kernel offers no seccomp filters")
    @pytest.mark.parametrize("name", ["unlink", "rename", "truncate", "kill", "ptrace", "socket", "execute", "fork"])
    def test_is_refused_by_the_kernel(self, attack, name, tmp_path):
        path = tmp_path / "victim"
        path.write_text("precious")
        with subprocess.Popen(["/bin/sleep", "600"]) as victim:
            target = str(victim.pid if name in ("kill", "ptrace") else path)
            assert attack(name, target=target) == "PermissionError 1"
            assert victim.poll() is None
            victim.kill()
        assert path.read_text() == "precious"

    @pytest.mark.skipif(not confinement.may_change_user(), reason="only root may change the user")
    def test_of_root_is_nobody(self, child, zygotes_of_attacks):
        """The files and processes of the site are out of reach by that too."""
        with child("sleep"):
            [sleeper] = psutil.Process(zygotes_of_attacks.started[-1].pid).children()
            assert set(sleeper.uids()) == set(sleeper.gids()) == {65534}

    def test_cannot_change_the_recording(self, attack):
        assert attack("writes") == "OSError 9"

    def test_gets_little_memory(self, attack):
        assert attack("memory") == "MemoryError"

    def test_makes_us_take_no_memory(self, attack):
        """It announces a block of a gigabyte."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(errors.NotAudio):
            attack("long block")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024

    @pytest.mark.long
    @pytest.mark.parametrize("name", ["crash", "raise", "spin", "long block", "long answer", "no answer"])
    def test_is_a_file_that_is_no_audio(self, attack, name):
        before = attack("zygote")
        with pytest.raises(errors.NotAudio) as caught:
            attack(name, stall_seconds=60)
        assert "too long" not in caught.value.message, "it was ended, and not waited for in vain"
        assert attack("zygote") == before, "the zygote goes on"

    @pytest.mark.long
    @pytest.mark.parametrize("number", range(1, len(attacks.LIES)))
    def test_is_not_believed(self, zygotes_of_attacks, number):
        assert probing.probe_in_child(SOUND, max_duration_ms=999_999, zygotes=zygotes_of_attacks).duration_ms == 2000
        with pytest.raises(errors.NotAudio):
            probing.probe_in_child(SOUND, max_duration_ms=number * 1_000_000, zygotes=zygotes_of_attacks)

    def test_does_not_outlive_our_patience(self, attack, zygotes_of_attacks):
        with pytest.raises(errors.NotAudio, match="too long"):
            attack("sleep", stall_seconds=0.2)
        wait(lambda: not psutil.Process(zygotes_of_attacks.started[-1].pid).children())

    def test_ends_with_its_reader(self, child, zygotes_of_attacks):
        with child("flood") as flooding:
            next(flooding.blocks())
        wait(lambda: not psutil.Process(zygotes_of_attacks.started[-1].pid).children())


def test_zygote_that_died_is_replaced():
    before = zygote()
    before.kill()
    assert probe() == 2000
    assert zygote() != before


@pytest.mark.long
def test_zygote_that_hangs_is_replaced():
    # The second one starts in this time too, on a busy machine.
    own = Zygotes(start_seconds=5.0)
    try:
        assert probe(own) == 2000
        before = own.running()
        psutil.Process(before.pid).suspend()
        assert probe(own) == 2000
        assert own.running() is not before
    finally:
        own.end()


@pytest.mark.long
def test_zygote_that_dies_while_decoding_blames_no_file(tmp_path):
    bomb = hostile.flac_bomb(tmp_path)
    with closing(decode.windows(bomb, max_duration_ms=50 * HOUR_MS, window_ms=1000)) as windows:
        next(windows)
        child = zygote().children()[0]
        zygote().kill()
        with pytest.raises(errors.DecoderUnavailable):
            list(windows)
    wait(lambda: not child.is_running())
    assert probe() == 2000


def test_zygote_that_cannot_start_blames_no_file():
    with pytest.raises(errors.DecoderUnavailable):
        probe(Zygotes(module="transcription.speech.no_such_module"))


@pytest.mark.long
def test_threads_share_the_zygote():
    from concurrent.futures import ThreadPoolExecutor

    end_zygote()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: probe(), range(40))) == [2000] * 40
    assert len(zygotes()) == 1


def test_named_pipe_is_no_audio(tmp_path):
    """Opening it normally would wait for a writer."""
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(errors.NotAudio):
        probing.probe_in_child(tmp_path / "pipe.wav", max_duration_ms=HOUR_MS)


def test_file_that_is_gone_is_not_called_no_audio(tmp_path):
    with pytest.raises(FileNotFoundError):
        probing.probe_in_child(tmp_path / "gone", max_duration_ms=HOUR_MS)


FORKING = """
children.ensure_zygote()
{before}
if not os.fork():
    probing.probe_in_child(PATH, max_duration_ms=3600000)
    print(children.ZYGOTES.started[0].pid, children.ZYGOTES.started[-1].pid, flush=True)
    os._exit(0)
os.wait()
probing.probe_in_child(PATH, max_duration_ms=3600000)
print(children.ZYGOTES.started[-1].pid)
"""


@pytest.mark.long
def test_fork_uses_the_zygote_of_its_parent():
    said = owner(FORKING.format(before="")).communicate(timeout=30)[0].split()
    assert len(set(said)) == 1, said


def test_fork_without_a_living_zygote_gets_its_own():
    before = (
        "os.kill(children.ZYGOTES.started[0].pid, 9)\nwhile children.ZYGOTES.started[0].is_alive(): time.sleep(0.01)"
    )
    parents, forks, later = owner(FORKING.format(before=before)).communicate(timeout=30)[0].split()
    assert len({parents, forks, later}) == 3
    wait(lambda: not psutil.pid_exists(int(forks)))  # the zygote of the fork ends with the fork
