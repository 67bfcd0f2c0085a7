"""What the server refuses before it starts: each time one clear sentence that names what to change."""

import socket
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.product import PROJECT_DIR, environment_of
from voxsite.serve import config, embedded_redis

pytestmark = pytest.mark.enable_socket


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


def test_port_in_use_is_one_sentence(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        sentence = refused(PORT=taken, VOXSITE_DATA_DIR=str(tmp_path))
    assert taken in sentence
    assert "PORT" in sentence


@pytest.mark.long
@pytest.mark.parametrize(
    "path", ["file", "file/below", "/proc/voxsite"], ids=["a file", "below a file", "refused by the kernel"]
)
def test_data_folder_that_cannot_be_written_is_one_sentence(tmp_path, port, path):
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / path
    sentence = refused(PORT=str(port), VOXSITE_DATA_DIR=str(folder))
    assert str(folder) in sentence
    assert "VOXSITE_DATA_DIR" in sentence


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "99999"),
        ("HOST", "192.0.2.1"),
        ("VOXSITE_WORKERS", "0"),
        ("VOXSITE_WEB_PROCESSES", "0"),
        ("VOXSITE_ENV", "test"),
    ],
)
def test_switch_that_makes_no_sense_is_one_sentence(tmp_path, port, name, value):
    switches = {"PORT": str(port), "VOXSITE_DATA_DIR": str(tmp_path), name: value}
    assert name in refused(**switches)


@pytest.mark.parametrize(("asked", "count"), [("", 1), ("3", 3)])
def test_one_web_process_unless_the_operator_asks_for_more(monkeypatch, asked, count):
    monkeypatch.setenv("VOXSITE_WEB_PROCESSES", asked)
    server_config = config.read()
    assert server_config.web_process_count == count
    assert config.environment_for_children(server_config)["VOXSITE_WEB_PROCESSES"] == str(count)


@pytest.mark.parametrize("asked", ["2", ""])
def test_system_whose_libraries_break_in_a_fork_has_one_web_process(monkeypatch, asked):
    monkeypatch.setenv("VOXSITE_WEB_PROCESSES", asked)
    if not asked:
        assert config.web_process_count(may_fork=False) == 1
        return
    with pytest.raises(ImproperlyConfigured, match="VOXSITE_WEB_PROCESSES=2 needs Linux"):
        config.web_process_count(may_fork=False)


def test_second_server_on_one_data_folder_is_refused(tmp_path, port):
    import fcntl

    with (tmp_path / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Another server" in refused(PORT=str(port), VOXSITE_DATA_DIR=str(tmp_path))


@pytest.fixture
def read(monkeypatch, tmp_path):
    """Return a reader of the switches in an environment that sets only these."""

    def read_switches(**switches):
        for name in ("HOST", "PORT", "VOXSITE_ENV", "VOXSITE_WORKERS", "REDIS_URL", "VOXSITE_ENGINE_SOCKET"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("VOXSITE_DATA_DIR", str(tmp_path))
        for name, value in switches.items():
            monkeypatch.setenv(name, value)
        return config.read()

    return read_switches


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://localhost:8000/"),
        ("0.0.0.0", "http://localhost:8000/"),
        ("::", "http://localhost:8000/"),
        ("::1", "http://[::1]:8000/"),
        ("example.com", "http://example.com:8000/"),
    ],
)
def test_address_can_be_typed_into_a_browser(read, host, address):
    assert read(HOST=host).address == address


def test_processes_share_one_environment(read, tmp_path):
    server_config = read(PORT="8001", VOXSITE_WORKERS="3")
    shared = config.environment_for_children(server_config)
    assert (shared["PORT"], shared["VOXSITE_WORKERS"], shared["VOXSITE_ENV"]) == ("8001", "3", "development")
    assert shared["VOXSITE_DATA_DIR"] == str(tmp_path)
    assert server_config.has_embedded_redis
    assert shared["REDIS_URL"] == embedded_redis.url(tmp_path)
    assert shared["VOXSITE_ENGINE_SOCKET"].startswith("ipc://")


def test_given_redis_and_engine_are_used(read):
    given = {"REDIS_URL": "redis://elsewhere/1", "VOXSITE_ENGINE_SOCKET": "ipc:///run/engine.sock"}
    server_config = read(**given)
    assert not server_config.has_embedded_redis
    assert given.items() <= config.environment_for_children(server_config).items()


@pytest.mark.parametrize(("environment", "is_marked"), [("development", True), ("production", False)])
def test_data_folder_is_private_and_says_whether_it_is_for_development(read, tmp_path, environment, is_marked):
    data_dir = tmp_path / "new" / "data"
    config.require_data_dir(read(VOXSITE_ENV=environment, VOXSITE_DATA_DIR=str(data_dir)))
    assert data_dir.stat().st_mode & 0o077 == 0
    assert [path.name for path in data_dir.iterdir()] == ["development"] * is_marked


def test_data_folder_is_free_again_when_its_server_ended(tmp_path):
    for _ in range(2):
        with config.sole_server_of(tmp_path), pytest.raises(config.StartError), config.sole_server_of(tmp_path):
            pytest.fail("two servers at once")
