"""Files of this machine that fill with what is downloaded. One that a dead process left goes on filling.

A spool is two files in the folder of uploads: the bytes, and the validator of the entity that they are of (an ETag or a
date). A lock of the operating system keeps a second process away, also one that was frozen and wakes up: it ends with
the process. The purge of stray files removes what nobody comes back to.
"""

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from django.conf import settings

from transcription.recordings import disk_space

# How often the free space is looked at while a file fills. 16 downloads at once take 256 MiB of the reserve at most.
LOOK_BYTES = 16 * 1024**2


class Spool:
    """A locked file with the first bytes of an entity. Use it in `with`, which removes it unless `keep` was called."""

    def __init__(self, name: str) -> None:
        """Open the spool of this name, with what an earlier process has left in it.

        While another process has it, this is an empty one of another name.
        """
        folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
        self.path = folder / name
        while not self._lock():
            self.path = folder / f"{name}-{secrets.token_hex(4)}"
        self._validator_path = self.path.with_name(f"{self.path.name}.validator")
        self.size = self._file.seek(0, os.SEEK_END)
        self.validator = self._validator_path.read_text() if self._validator_path.exists() else ""
        if not self.validator:
            self.restart(validator="")
        self._is_kept = False
        self._looked_at = self.size

    def require_space(self, total_bytes: int) -> None:
        """Raise DiskFull if the entity cannot become so large."""
        disk_space.require(self.path.parent, size_bytes=total_bytes - self.size)

    def restart(self, *, validator: str) -> None:
        """Empty it for an entity with this validator, "" for one that cannot be told from others."""
        self._file.truncate(0)
        self.size = self._looked_at = 0
        self.validator = validator
        self._validator_path.write_text(validator)

    def write(self, piece: bytes) -> None:
        """Add bytes. Raises DiskFull before the reserve of the disk is used up."""
        if self.size >= self._looked_at + LOOK_BYTES:
            self._looked_at = self.size
            self.require_space(self.size + LOOK_BYTES)
        with disk_space.told_if_full():
            self._file.write(piece)
        self.size += len(piece)

    def flush(self) -> None:
        """Make all bytes readable by the path. Raises DiskFull."""
        with disk_space.told_if_full():
            self._file.flush()

    def keep(self) -> None:
        """Leave the files to the next process that opens the spool."""
        self._is_kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_kept:
            # Before the lock ends with the file: the next process must not find files that are about to go.
            self.path.unlink(missing_ok=True)
            self._validator_path.unlink(missing_ok=True)
            # On a full disk the last bytes cannot be written, and nobody wants them.
            with suppress(OSError):
                self._file.close()
        self._file.close()

    def _lock(self) -> bool:
        """Open and lock the file at the path. Returns False if another process has it."""
        while True:
            # Appending, so that a position is never wrong.
            self._file = self.path.open("ab")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                return False
            # Its owner may have removed it between the opening and the lock.
            if self.path.exists() and os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                return True
            self._file.close()
