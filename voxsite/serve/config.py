"""The server's configuration from the environment, and checks that this machine can run it."""

import contextlib
import errno
import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from voxsite import engines, env
from voxsite.serve import embedded_redis

PROJECT_DIR = Path(__file__).resolve().parent.parent.parent
MAX_PORT = 65535


class StartError(Exception):
    """The server cannot start. The message is the sentence to show."""


@dataclass(frozen=True)
class ServerConfig:
    """The switches that decide which processes run, and where. All others are read in the settings."""

    host: str
    port: int
    is_development: bool
    data_dir: Path
    web_process_count: int
    worker_count: int
    has_embedded_redis: bool

    @property
    def address(self) -> str:
        """The address to type into a browser."""
        host = {"0.0.0.0": "localhost", "::": "localhost", "127.0.0.1": "localhost"}.get(self.host, self.host)  # noqa: S104 - shown as what a browser can open
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"


def read() -> ServerConfig:
    """Read the switches. Raises StartError for a value that is not allowed."""
    try:
        return ServerConfig(
            host=env.text("HOST", default="127.0.0.1"),
            port=env.integer("PORT", default=8000, minimum=1),
            is_development=env.choice("VOXSITE_ENV", options=("development", "production"), default="development")
            == "development",
            web_process_count=web_process_count(may_fork=sys.platform == "linux"),
            data_dir=Path(env.text("VOXSITE_DATA_DIR", default=str(PROJECT_DIR / "var"))).resolve(),
            worker_count=env.integer("VOXSITE_WORKERS", default=2, minimum=1),
            has_embedded_redis=not env.text("REDIS_URL"),
        )
    except ImproperlyConfigured as error:
        raise StartError(str(error)) from error


def web_process_count(*, may_fork: bool) -> int:
    """Return how many web processes there shall be. Raises ImproperlyConfigured.

    may_fork: several are forks of one that has loaded Django. On macOS, system libraries break in such a fork.
    """
    count = env.integer("VOXSITE_WEB_PROCESSES", default=1, minimum=1)
    if count > 1 and not may_fork:
        raise ImproperlyConfigured(f"VOXSITE_WEB_PROCESSES={count} needs Linux; unset it.")
    return count


def environment_for_children(config: ServerConfig) -> dict[str, str]:
    """Return the environment variables that all processes of this server share."""
    data_dir = config.data_dir
    try:
        engines.devices()
        engine_socket = env.text("VOXSITE_ENGINE_SOCKET") or f"ipc://{env.socket_path(data_dir, 'engine.sock')}"
        redis_url = env.text("REDIS_URL") or embedded_redis.url(data_dir)
    except ImproperlyConfigured as error:
        raise StartError(str(error)) from error
    return {
        "DJANGO_SETTINGS_MODULE": "voxsite.settings",
        "HOST": config.host,
        "PORT": str(config.port),
        "VOXSITE_ENV": "development" if config.is_development else "production",
        "VOXSITE_DATA_DIR": str(data_dir),
        "VOXSITE_WEB_PROCESSES": str(config.web_process_count),
        "VOXSITE_WORKERS": str(config.worker_count),
        "VOXSITE_ENGINE_SOCKET": engine_socket,
        "REDIS_URL": redis_url,
        # Without this, lines would appear only when a buffer is full.
        "PYTHONUNBUFFERED": "1",
    }


def require_data_dir(config: ServerConfig) -> None:
    """Make the data folder, check that it is writable, and mark it if it is for development. Raises StartError."""
    data_dir = config.data_dir
    try:
        # It holds mail, uploads and sockets, so no other user of the machine may read it.
        env.private_folder(data_dir)
        # Writes a file: permission bits do not apply to root, and do not show a full or read-only disk.
        with tempfile.NamedTemporaryFile(dir=data_dir) as probe:
            probe.write(b"\0")
        mark = data_dir / "development"
        if config.is_development:
            mark.touch()
    except OSError as error:
        raise StartError(
            f"The data folder {data_dir} cannot be written ({error.strerror}); "
            "set VOXSITE_DATA_DIR to a folder that can."
        ) from error


def require_port(config: ServerConfig) -> None:
    """Check that the server can listen on its address. Raises StartError."""
    host, port = config.host, config.port
    if port > MAX_PORT:
        # getaddrinfo would silently use the remainder.
        raise StartError(f"PORT={port} is no port; choose one from 1024 to {MAX_PORT}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the web server does. Without it, lingering connections of the last run would count as "in use".
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError as error:
        raise StartError(f"PORT={port} needs rights that this user lacks; choose one of 1024 or more.") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise StartError(f"HOST={host} is no address of this machine ({error.strerror}).") from error
        raise StartError(
            f"Port {port} on {host} is in use by another program; end that one or choose another port with PORT."
        ) from error


@contextlib.contextmanager
def sole_server_of(data_dir: Path) -> Iterator[None]:
    """Lock the data folder. Two servers on one folder would take each other's sockets. Raises StartError.

    The kernel frees the lock when this process ends in any way. Children do not inherit it (PEP 446).
    """
    descriptor = os.open(data_dir / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"Another server already runs on the data folder {data_dir}; end it or set VOXSITE_DATA_DIR."
            ) from error
        yield
    finally:
        os.close(descriptor)
