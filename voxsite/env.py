"""Readers of environment variables, which raise for a bad value. The supervisor uses them before Django is set up."""

import hashlib
import ipaddress
import json
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import ImproperlyConfigured

# The path of a Unix socket may have 108 bytes on Linux (unix(7)) and 104 on macOS. ZeroMQ and Redis add a few.
MAX_SOCKET_PATH_BYTES = 96


def text(name: str, *, default: str = "") -> str:
    """Return the variable without surrounding whitespace, or the default if it is unset or empty."""
    return os.environ.get(name, "").strip() or default


def required(name: str, *, why: str) -> str:
    """Return the variable. Raises ImproperlyConfigured, with the reason, if it is unset or empty."""
    value = text(name)
    if not value:
        raise ImproperlyConfigured(f"Set {name}: {why}")
    return value


def secret(name: str) -> str:
    """Return the variable, or else the content of the file that NAME_FILE names, which no list of processes shows."""
    path = text(f"{name}_FILE")
    if text(name) or not path:
        return text(name)
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE names {path}, which cannot be read: {error.strerror}.") from error


def web_address(name: str) -> str:
    """Return an address of the web that people can open, "" if it is not set."""
    value = text(name)
    # The attack: a `javascript:` address would run on the site's own pages.
    if value and not value.startswith(("https://", "http://")):
        raise ImproperlyConfigured(f"{name} must be an address that begins with https:// or http://, not {value!r}.")
    return value


def flag(name: str, *, default: bool = False) -> bool:
    """Return a switch: 1, true, yes, on or 0, false, no, off."""
    value = text(name).lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be on or off, not {value!r}.")


def count(name: str) -> int:
    """Return a count: a whole number, "on" for 1, "off" or nothing for 0."""
    if text(name).isdecimal():
        return integer(name, default=0)
    return int(flag(name))


def integer(name: str, *, default: int, minimum: int = 0) -> int:
    """Return a whole number of at least `minimum`."""
    value = text(name)
    if not value:
        return default
    try:
        number = int(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from error
    if number < minimum:
        raise ImproperlyConfigured(f"{name} must be at least {minimum}, not {number}.")
    return number


def choice(name: str, *, options: tuple[str, ...], default: str) -> str:
    """Return one of the options."""
    value = text(name, default=default)
    if value not in options:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(options)}, not {value!r}.")
    return value


def words(name: str, *, default: tuple[str, ...] = ()) -> list[str]:
    """Return the items of a comma-separated list."""
    return [word.strip() for word in text(name).split(",") if word.strip()] or list(default)


def sockets(name: str) -> list[str]:
    """Return the items of a list such as 127.0.0.1:9000,[::1]:9000. "on" is ["*"], "off" or nothing is []."""
    found = words(name)
    if ":" not in "".join(found):
        return ["*"] if flag(name) else []
    for item in found:
        host, _, port = item.rpartition(":")
        try:
            ipaddress.ip_address(host.strip("[]"))
            is_socket = 0 < int(port) < 65536
        except ValueError:
            is_socket = False
        if not is_socket:
            raise ImproperlyConfigured(f"{name} must be on, off, or addresses such as 127.0.0.1:9000, not {item!r}.")
    return found


def json_value(name: str, *, default: Any) -> Any:
    """Return a value that is given as JSON."""
    value = text(name)
    if not value:
        return default
    try:
        return json.loads(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be JSON: {error}.") from error


def socket_path(data_dir: Path, name: str) -> Path:
    """Return the path of a Unix socket: in the data folder, or in a private temporary one if that path is too long."""
    path = data_dir / name
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"voxsite-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # The attack: another user of the machine makes the folder first, and then owns our sockets.
    if folder.is_symlink() or folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise ImproperlyConfigured(f"{folder} belongs to somebody else; set VOXSITE_DATA_DIR to a shorter path.")
    return folder / name


def private_folder(path: Path) -> None:
    """Make the folder if it is missing, and close it to other users of the machine.

    An older folder is closed too if it is this process's own and looks like a data folder: empty, or with `uploads` in
    it. Someone's home folder, named by mistake, stays as it is.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    is_shared = status.st_mode & stat.S_ISVTX or path == Path.home() or path == path.parent
    is_open = status.st_mode & 0o077 and status.st_uid == os.geteuid() and not is_shared
    if is_open and ((path / "uploads").is_dir() or not any(path.iterdir())):
        path.chmod(0o700)


def with_query(url: str, **options: object) -> str:
    """Return the URL with these query parameters added."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(options)}"


def kept_secret(path: Path) -> str:
    """Return the secret in the file, for development. It is made on first use, and only its owner can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        value = secrets.token_urlsafe(48)
        file.write(value)
    return value
