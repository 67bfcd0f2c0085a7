"""Bytes on their way to a signed address: files that fill on the volume of the media folder, and room for them.

All files of an upload lie in a folder of its own, which is removed with all that is in it. `incoming_parts` has the
files of an upload in parts.

Nothing here is written through to the disk (fsync), as nowhere in Django's storage: a kill harms nothing, a power
failure may. The recording is probed afterwards.
"""

import os
import secrets
import shutil
import threading
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from django.conf import settings

from transcription.recordings import disk_space

# What pwritev takes at once (IOV_MAX of Linux).
MAX_PIECES = 1024
# A sender that has written nothing for this long is dead, and so is an upload whose row is gone.
ORPHAN_AFTER = timedelta(days=1)


class Gone(Exception):
    """The upload ended while its bytes came: it was received by another way, or given up."""


def require_room(size_bytes: int) -> None:
    """Raise DiskFull if so many bytes would leave less than the reserve on the volume.

    What others have announced does not count, since announcing is free: somebody who announces much and sends nothing
    would keep everybody out. So files look at the reserve once more while they fill.
    """
    disk_space.require(_top(), size_bytes=size_bytes)


class Hasher(Protocol):
    """A hash of hashlib."""

    def update(self, data: bytes, /) -> None: ...


class IncomingFile:
    """A file that fills with a body. Use it in `with`, or close it: what is not kept vanishes then. Thread-safe."""

    # Where it begins in the file on the disk.
    offset = 0

    def __init__(self, path: Path, *, descriptor: int) -> None:
        """Take an open file. Use `whole` or `incoming_parts.part` instead."""
        self.path = path
        self.size_bytes = 0
        self._descriptor = descriptor
        self._is_closed = False
        # A thread may still write when the file is closed, since its task was canceled. Afterwards, the number of the
        # descriptor may be that of another file.
        self._use = threading.Lock()
        # Hashes what is written too, if somebody sets it.
        self.hasher: Hasher | None = None
        # CRC-32 of what was written.
        self.checksum = 0

    @property
    def etag(self) -> str:
        """CRC-32 and size of what was written. The same bytes always have the same.

        Rejected: MD5, as S3 has it. It took two thirds of the time of the web process, 1.8 s for a gigabyte (CRC-32:
        0.3 s). The ETag tells two versions of a part apart, and protects from nobody. It has a hyphen, so that clients
        do not take it for an MD5, as with S3.
        """
        return f"{self.checksum:08x}-{self.size_bytes}"

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append bytes. Raises DiskFull, and Gone if the upload has ended meanwhile or the file is closed."""
        with self._use, disk_space.told_if_full():
            if self._is_closed:
                raise Gone
            disk_space.require_reserve(self._descriptor)
            self._write(pieces)
            for piece in pieces:
                self.checksum = zlib.crc32(piece, self.checksum)
                if self.hasher is not None:
                    self.hasher.update(piece)
                self.size_bytes += len(piece)

    def keep(self) -> None:
        """Make the file what has come. Raises Gone if the upload has ended meanwhile.

        A whole file is moved into storage instead.
        """

    def close(self) -> None:
        """Wait for a thread that writes, close the file, and remove what was not kept. Idempotent."""
        with self._use:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._descriptor)
                self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, pieces: Sequence[bytes]) -> None:
        write_all(self._descriptor, pieces, offset=self.offset + self.size_bytes)

    def _discard(self) -> None:
        # Storage may have moved it.
        self.path.unlink(missing_ok=True)
        with suppress(OSError):  # Another sender has a file in it.
            self.path.parent.rmdir()


class Measured(IncomingFile):
    """Takes bytes as a file does and keeps none, for their size and ETag."""

    def __init__(self) -> None:
        path = Path(os.devnull)
        super().__init__(path, descriptor=open_file(path, os.O_WRONLY))

    def _discard(self) -> None:
        """There is nothing to remove."""


def whole(upload_id: uuid.UUID) -> IncomingFile:
    """Return a new file for all bytes of an upload."""
    folder = folder_of(upload_id)
    while True:
        made_folder(folder)
        path = folder / f"whole-{secrets.token_hex(8)}"
        with suppress(FileNotFoundError):  # Another sender has given up and removed the folder.
            return IncomingFile(path, descriptor=open_file(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def folder_of(upload_id: uuid.UUID, *, multipart_id: str = "") -> Path:
    """Return where the bytes of an upload fill: whole ones, or the parts of this number of an upload in parts."""
    return Path(settings.INCOMING_DIR) / (f"{upload_id}.{multipart_id}" if multipart_id else str(upload_id))


def has_begun(upload_id: uuid.UUID) -> bool:
    """Tell whether the bytes of an upload are coming in one piece."""
    # The last sender removes the folder.
    return folder_of(upload_id).is_dir()


def remove(upload_id: uuid.UUID, *, multipart_id: str = "") -> None:
    """Remove what has come of an upload. Senders that still write find out."""
    remove_folder(folder_of(upload_id, multipart_id=multipart_id))


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, or a file. What stays for some reason is found by `orphans`."""
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.unlink(missing_ok=True)


def orphans(*, now: datetime) -> Iterator[tuple[Path, uuid.UUID | None, str]]:
    """Yield (folder, id of its upload, number of the upload in parts) of folders that nobody has written to for a day.

    The id is None for something that is no upload's.
    """
    for folder in sorted(_top().iterdir()):
        if _last_written(folder) < (now - ORPHAN_AFTER).timestamp():
            name, _, multipart_id = folder.name.partition(".")
            try:
                yield folder, uuid.UUID(name), multipart_id
            except ValueError:
                yield folder, None, ""


def open_file(path: Path, flags: int) -> int:
    """Return a descriptor that no child process gets. A new file is its owner's alone."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def write_all(descriptor: int, pieces: Sequence[bytes], *, offset: int) -> None:
    """Write bytes from this offset on."""
    left = [memoryview(piece) for piece in pieces]
    while left:
        written = os.pwritev(descriptor, left[:MAX_PIECES], offset)
        offset += written
        done = 0
        while done < len(left) and written >= len(left[done]):
            written -= len(left[done])
            done += 1
        del left[:done]
        if left:
            left[0] = left[0][written:]


def is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the open file still has this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def gone_without_folder() -> Iterator[None]:
    """Raise Gone when a file or its folder is missing."""
    try:
        yield
    except FileNotFoundError as error:
        raise Gone from error


def _top() -> Path:
    return made_folder(Path(settings.INCOMING_DIR))


def made_folder(folder: Path) -> Path:
    """Return the folder, which exists now."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _last_written(folder: Path) -> float:
    """Return when something was written last in a folder, as a Unix time, 0 if it vanished meanwhile."""
    times = [0.0]
    for path in (folder, *folder.glob("*")):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)
