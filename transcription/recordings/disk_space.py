"""Room on the disk: files that customers fill leave the reserve of the settings, so that the database can write."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(Exception):
    """The volume has no room for these bytes beside its reserve."""


def require(folder: Path, *, size_bytes: int) -> None:
    """Raise DiskFull if so many bytes would leave less than the reserve on the volume of the folder."""
    if not has_room(folder, size_bytes=size_bytes):
        raise DiskFull


def has_room(folder: Path, *, size_bytes: int) -> bool:
    """Tell whether so many bytes leave the reserve on the volume of the folder."""
    return shutil.disk_usage(folder).free - size_bytes >= settings.DISK_RESERVE_BYTES


def require_reserve(descriptor: int) -> None:
    """Raise DiskFull if the volume of an open file has less than the reserve."""
    volume = os.fstatvfs(descriptor)
    if volume.f_bavail * volume.f_frsize < settings.DISK_RESERVE_BYTES:
        raise DiskFull


@contextmanager
def told_if_full() -> Iterator[None]:
    """Raise DiskFull in the place of the system's errors that say so."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise DiskFull from error
        raise
