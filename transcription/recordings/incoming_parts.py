"""An upload in parts on the volume of the media folder: each part is written to its place in one sparse file.

So nothing is left to copy in the end. The first sender of a part writes to its place. Another one at the same time, or
later, writes beside it, and its part is the one that counts when it is whole. A repeat is rare, and only it is copied
in the end. So a broken connection leaves nothing, and a repeat never harms a part that has come.

A part has come when its record is there, a small file that appears whole (by a rename). A place is claimed by a file
that only one sender can make. After a kill a place may stay claimed for nothing; the next sender then writes beside it.
`assembled` locks the file with all parts for itself, once all have come. Senders share the lock while they write, also
those of other processes of this machine. One that finds it taken repeats a part that is not needed, and ends.
"""

import fcntl
import json
import os
import secrets
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from transcription.recordings import disk_space, incoming
from transcription.recordings.incoming import Gone, IncomingFile

COPY_BYTES = 8 * 1024**2
# The file with all parts in their places.
PARTS = "parts"


@dataclass(frozen=True, slots=True)
class PartRecord:
    """A part that has come. etag: as `IncomingFile` has it. file: its name in the folder, "" in its place."""

    etag: str
    size_bytes: int
    file: str = ""


def part(upload_id: uuid.UUID, *, multipart_id: str, number: int, part_bytes: int) -> IncomingFile:
    """Return a file for one part. part_bytes: the size of all parts but the last one. Raises Gone."""
    folder = incoming.folder_of(upload_id, multipart_id=multipart_id)
    with ExitStack() as opened, incoming.gone_without_folder():
        lock = incoming.open_file(folder / PARTS, os.O_RDWR)
        opened.callback(os.close, lock)
        claim = _claimed(_claim_path(folder, number))
        if claim is None:
            path = folder / f"{number}.beside-{secrets.token_hex(8)}"
            made: IncomingFile = _Part(
                path,
                descriptor=incoming.open_file(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY),
                number=number,
                lock=lock,
            )
        else:
            opened.callback(os.close, claim)
            opened.callback(_claim_path(folder, number).unlink, missing_ok=True)
            path = folder / PARTS
            made = _PartInPlace(
                path,
                descriptor=incoming.open_file(path, os.O_WRONLY),
                number=number,
                lock=lock,
                claim=claim,
                offset=(number - 1) * part_bytes,
            )
        opened.pop_all()
        return made


def begin_parts(upload_id: uuid.UUID, *, multipart_id: str) -> None:
    """Make the folder for the parts of an upload, and the file for all of them. Without it no part can come.

    Nobody else makes that file: a request that came while another one removes the folder would bring it back.
    """
    folder = incoming.made_folder(incoming.folder_of(upload_id, multipart_id=multipart_id))
    os.close(incoming.open_file(folder / PARTS, os.O_CREAT | os.O_RDWR))


def parts_of(upload_id: uuid.UUID, *, multipart_id: str, count: int) -> dict[int, PartRecord]:
    """Return the parts that have come, by their numbers, of `count` parts."""
    folder = incoming.folder_of(upload_id, multipart_id=multipart_id)
    found = {number: _record(folder, number) for number in range(1, count + 1)}
    return {number: record for number, record in found.items() if record is not None}


def has_begun(upload_id: uuid.UUID, *, multipart_id: str) -> bool:
    """Tell whether a part of an upload has come, or is coming. False without an upload in parts."""
    if not multipart_id:
        return False
    with suppress(FileNotFoundError), os.scandir(incoming.folder_of(upload_id, multipart_id=multipart_id)) as entries:
        return any(entry.name != PARTS for entry in entries)
    return False


def bytes_on_disk(upload_id: uuid.UUID, *, multipart_id: str) -> int:
    """Return how much of the volume the parts of an upload take, also those that still come."""
    taken = 0
    with suppress(FileNotFoundError), os.scandir(incoming.folder_of(upload_id, multipart_id=multipart_id)) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                # The file for all parts has holes. A block of st_blocks has 512 bytes, whatever the file system.
                taken += 512 * entry.stat(follow_symlinks=False).st_blocks
    return taken


@contextmanager
def assembled(
    upload_id: uuid.UUID, *, multipart_id: str, etags: Sequence[str], part_bytes: int
) -> Iterator[Path | None]:
    """Give the parts as one file, which may be moved away, while no part can be written. None if one is missing.

    etags: of the parts in their order. A part with another ETag is missing. The parts stay until `remove`.
    Raises Gone if the upload has ended.
    """
    folder = incoming.folder_of(upload_id, multipart_id=multipart_id)
    path = folder / PARTS
    with incoming.gone_without_folder():
        descriptor = incoming.open_file(path, os.O_RDWR)
    link = folder / f"whole-{secrets.token_hex(8)}"
    try:
        # Looked at before the lock too: whoever asks too early must not disturb the parts that still come.
        if not _have_come(upload_id, multipart_id=multipart_id, etags=etags):
            yield None
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not incoming.is_at(descriptor, path):
            raise Gone
        records = parts_of(upload_id, multipart_id=multipart_id, count=len(etags))
        if not _have_come(upload_id, multipart_id=multipart_id, etags=etags):
            yield None
            return
        for number, record in records.items():
            if record.file:
                _bring_in(folder, number, record, descriptor=descriptor, offset=(number - 1) * part_bytes)
        # A second name: if storage or the database fails, the parts are still here.
        os.link(path, link)
        yield link
    finally:
        link.unlink(missing_ok=True)
        os.close(descriptor)


def _have_come(upload_id: uuid.UUID, *, multipart_id: str, etags: Sequence[str]) -> bool:
    records = parts_of(upload_id, multipart_id=multipart_id, count=len(etags))
    return [record.etag for _, record in sorted(records.items())] == list(etags)


def joint_etag(etags: Sequence[str]) -> str:
    """Return the ETag of a file that came in parts: the CRC-32 of their ETags, and the number of parts as S3 has it."""
    return f"{zlib.crc32(','.join(etags).encode()):08x}-{len(etags)}"


class _Part(IncomingFile):
    """One part of an upload, in its place or beside it."""

    def __init__(self, path: Path, *, descriptor: int, number: int, lock: int) -> None:
        super().__init__(path, descriptor=descriptor)
        self._number = number
        # A descriptor of the file with all parts.
        self._lock = lock
        self._is_kept = False

    def keep(self) -> None:
        with self._shared(), disk_space.told_if_full():
            folder = self.path.parent
            earlier = _record(folder, self._number)
            draft = folder / f"{self._number}.draft-{secrets.token_hex(8)}"
            try:
                draft.write_text(json.dumps(asdict(self._as_record())))
                draft.replace(_record_path(folder, self._number))
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            self._is_kept = True
            if earlier is not None and earlier.file:
                (folder / earlier.file).unlink(missing_ok=True)

    def _as_record(self) -> PartRecord:
        return PartRecord(self.etag, self.size_bytes, self.path.name)

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Keep `assembled` out. Raises Gone if the upload has ended."""
        try:
            # Without waiting: the parts may take a while to put together, and other uploads need this thread.
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Gone from error
        try:
            if not incoming.is_at(self._lock, self.path.parent / PARTS):
                raise Gone
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _discard(self) -> None:
        os.close(self._lock)
        if not self._is_kept:
            self.path.unlink(missing_ok=True)


class _PartInPlace(_Part):
    """A part that is written to its place among the others. claim: a descriptor of the file that gives the right."""

    def __init__(self, path: Path, *, descriptor: int, number: int, lock: int, claim: int, offset: int) -> None:
        super().__init__(path, descriptor=descriptor, number=number, lock=lock)
        self.offset = offset
        self._claim = claim

    def _as_record(self) -> PartRecord:
        return PartRecord(self.etag, self.size_bytes)

    def _write(self, pieces: Sequence[bytes]) -> None:
        with self._shared():
            super()._write(pieces)

    @contextmanager
    def _shared(self) -> Iterator[None]:
        with super()._shared():
            # `assembled` may have brought in what another sender has written beside the place.
            if not incoming.is_at(self._claim, _claim_path(self.path.parent, self._number)):
                raise Gone
            yield

    def _discard(self) -> None:
        os.close(self._lock)
        path = _claim_path(self.path.parent, self._number)
        if not self._is_kept and incoming.is_at(self._claim, path):
            path.unlink(missing_ok=True)
        os.close(self._claim)


def _bring_in(folder: Path, number: int, record: PartRecord, *, descriptor: int, offset: int) -> None:
    """Copy a part that lies beside its place into it. Whoever still writes to the place loses it."""
    draft = folder / f"{number}.draft-{secrets.token_hex(8)}"
    draft.touch(mode=0o600)
    draft.replace(_claim_path(folder, number))
    with disk_space.told_if_full(), (folder / record.file).open("rb") as file:
        while piece := file.read(COPY_BYTES):
            incoming.write_all(descriptor, [piece], offset=offset)
            offset += len(piece)


def _claimed(path: Path) -> int | None:
    """Return a descriptor of a file that only this call has made, None if it was there."""
    with suppress(FileExistsError):
        return incoming.open_file(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    return None


def _claim_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.claim"


def _record_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.part"


def _record(folder: Path, number: int) -> PartRecord | None:
    try:
        return PartRecord(**json.loads(_record_path(folder, number).read_text()))
    except FileNotFoundError:
        return None
