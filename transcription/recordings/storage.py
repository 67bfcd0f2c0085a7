"""Stored files: probe and store one, fetch it for work, read a part, delete it."""

import hashlib
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction

from accounts import database_connection
from accounts.errors import BadMedia, NoRoom, NotFound, TooLarge, TooManyUploads, VoxsiteError
from accounts.models import Organization
from transcription.models import Media
from transcription.recordings import probe_lanes
from transcription.recordings.names import display_name
from transcription.speech import probing
from transcription.speech.errors import AudioError, NotAudio

logger = logging.getLogger(__name__)

COPY_BYTES = 1024 * 1024
# Objects of one request, as S3 allows (Amazon S3 API Reference, DeleteObjects, read 2026-11-30).
DELETE_BATCH_SIZE = 1000
# Requests to object storage at the same time.
STORAGE_THREADS = 8
# Objects below it were put there by customers, who can replace them while their addresses serve.
INCOMING = "incoming/"


def accept_file(
    organization: Organization, *, path: Path, name: str, may_move: bool = False, may_be_truncated: bool = False
) -> Media:
    """Probe a file of this machine and store it.

    name: what the customer calls it. may_move: the file may be moved into storage and so vanish.
    may_be_truncated: a file is accepted although its header states more than it holds.
    Raises BadMedia (with the slug of the fault) or TooLarge, and TooManyUploads or NoRoom when too many probes wait.
    Then storage holds nothing of it. The probe runs in a child process with limits, because native code parses what
    customers send.
    """
    size_bytes = path.stat().st_size
    if size_bytes > settings.MAX_UPLOAD_BYTES:
        raise TooLarge(f"The file is larger than {settings.MAX_UPLOAD_BYTES // 1024**3} GiB.", param="file")
    # Probing and storing may take a minute. A connection of the pool held for that long is one that others wait for.
    database_connection.release_to_pool()
    found, sha256 = _probe(organization, path=path, size_bytes=size_bytes, may_be_truncated=may_be_truncated)
    media_id = uuid.uuid4()
    storage_key = new_key(organization, media_id)
    store_file(storage_key, path=path, may_move=may_move)
    try:
        return _create(
            media_id,
            organization=organization,
            name=name,
            storage_key=storage_key,
            size_bytes=size_bytes,
            found=found,
            sha256=sha256,
        )
    except BaseException:
        default_storage.delete(storage_key)
        raise


def accept_stored(organization: Organization, *, storage_key: str, name: str, may_be_truncated: bool = False) -> Media:
    """Probe a file that lies in storage already. Its bytes stay where they are.

    Raises BadMedia with the slug of the fault, FileNotFoundError, and IntegrityError when the key has a Media; the
    bytes are left to the caller.
    """
    database_connection.release_to_pool()
    with path_of(storage_key) as path:
        size_bytes = path.stat().st_size
        found, sha256 = _probe(organization, path=path, size_bytes=size_bytes, may_be_truncated=may_be_truncated)
    return _create(
        uuid.uuid4(),
        organization=organization,
        name=name,
        storage_key=storage_key,
        size_bytes=size_bytes,
        found=found,
        sha256=sha256,
    )


def require_room(organization: Organization) -> None:
    """Raise TooManyUploads or NoRoom if an upload of the organization would be refused for lack of room now."""
    lane = probe_lanes.LANES[0]
    try:
        lane.require_room(organization.pk)
    except probe_lanes.LaneFull as full:
        raise _no_room(full, lane=lane) from full


def new_key(organization: Organization, file_id: uuid.UUID) -> str:
    """Return the storage key of a new file. Its UUID makes it the only one of its name."""
    return f"media/{organization.pk}/{file_id}"


def incoming_key(organization: Organization, file_id: uuid.UUID) -> str:
    """Return the storage key that a customer may get a presigned address for."""
    return f"{INCOMING}{organization.pk}/{file_id}"


def sizes_of_incoming(organization: Organization) -> dict[str, int]:
    """Return what customers have put into object storage by presigned addresses: sizes in bytes by storage key.

    Empty without object storage: the site's own endpoint knows what has come.
    """
    sizes_below = getattr(default_storage, "sizes_below", None)
    return {} if sizes_below is None else dict(sizes_below(f"{INCOMING}{organization.pk}"))


def copy_file(storage_key: str, *, new_storage_key: str) -> None:
    """Copy stored bytes, inside of object storage if there is one. Raises FileNotFoundError."""
    copy = getattr(default_storage, "copy", None)
    if copy is not None:
        copy(storage_key, new_name=new_storage_key)
        return
    with default_storage.open(storage_key, "rb") as file:
        default_storage.save(new_storage_key, file)


def give_up_parts(storage_key: str, *, multipart_id: str) -> None:
    """Have object storage, if there is one, delete the parts of an upload in parts. A failure is only logged."""
    abort = getattr(default_storage, "abort_multipart", None)
    if abort is not None:
        try:
            abort(storage_key, multipart_id=multipart_id)
        except Exception:  # Every storage has its own errors; a rule of the bucket removes what stays.
            logger.exception("Could not give up the parts of %s in storage.", storage_key)


def give_up_all_parts(multipart_ids: Mapping[str, str]) -> None:
    """Do the same for several. multipart_ids: by storage key. A request each, so some are made at once."""
    if not multipart_ids or getattr(default_storage, "abort_multipart", None) is None:
        return
    with ThreadPoolExecutor(min(len(multipart_ids), STORAGE_THREADS), thread_name_prefix="give-up") as threads:
        for storage_key, multipart_id in multipart_ids.items():
            threads.submit(give_up_parts, storage_key, multipart_id=multipart_id)


def store_file(storage_key: str, *, path: Path, may_move: bool) -> None:
    """Store the bytes under exactly this key. A file on the storage's own volume is moved if it may be."""
    if may_move:
        # A moved file keeps its time. The sweep would take one that waited for its verification for an old stray.
        os.utime(path)
    with path.open("rb") as file:
        stored_key = default_storage.save(storage_key, _MovableFile(file, path) if may_move else File(file))
    assert stored_key == storage_key, "the key holds a fresh UUID, so storage had no reason to choose another"


def discard(recording: Media) -> None:
    """Delete a recording and its bytes. Raises ProtectedError while a job still needs it."""
    recording.delete()
    remove_file(recording.storage_key)


def require_stored(recordings: Sequence[Media]) -> None:
    """Keep recordings from being deleted until the end of the caller's transaction.

    Raises NotFound if one of them was deleted meanwhile.
    """
    ids = {recording.pk for recording in recordings}
    locked = Media.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk")
    if len(locked.values_list("pk")) < len(ids):
        raise NotFound("The file is no longer stored.", error_type="file_not_found")


def remove_file(storage_key: str) -> None:
    """Remove bytes from storage. A failure is logged and not raised: the row that pointed here is gone already."""
    try:
        default_storage.delete(storage_key)
    except Exception:  # Every storage has its own errors; the sweep will find what stays.
        logger.exception("Could not remove %s from storage.", storage_key)


def remove_files(storage_keys: Iterable[str]) -> None:
    """Remove several, as `remove_file`. From object storage by one request for many."""
    delete_many = getattr(default_storage, "delete_many", None)
    if delete_many is None:
        for storage_key in storage_keys:
            remove_file(storage_key)
        return
    keys = list(storage_keys)
    for first in range(0, len(keys), DELETE_BATCH_SIZE):
        try:
            delete_many(keys[first : first + DELETE_BATCH_SIZE])
        except Exception:  # As in `remove_file`.
            logger.exception("Could not remove %s objects from storage.", len(keys[first : first + DELETE_BATCH_SIZE]))


def remove_all_of(organization: Organization) -> None:
    """Remove every file of an organization from storage, also those that no row knows."""
    sizes_below = getattr(default_storage, "sizes_below", None)
    for top in ("media", "results", INCOMING.rstrip("/")):
        below = f"{top}/{organization.pk}"
        if sizes_below is not None:
            remove_files(sizes_below(below))
        else:
            shutil.rmtree(default_storage.path(below), ignore_errors=True)


def remove_empty_folder(name: str) -> None:
    """Remove a folder of the storage if nothing is in it. Object storage has no folders."""
    try:
        path = Path(default_storage.path(name))
    except NotImplementedError:
        return
    # It is gone, or something is in it.
    with suppress(OSError):
        path.rmdir()


@contextmanager
def local_path(recording: Media) -> Iterator[Path]:
    """Give the recording as a file on this machine for as long as the block runs. Raises FileNotFoundError."""
    with path_of(recording.storage_key) as path:
        yield path


@contextmanager
def path_of(storage_key: str) -> Iterator[Path]:
    """Give a stored file as a file on this machine for as long as the block runs. Raises FileNotFoundError."""
    try:
        path = Path(default_storage.path(storage_key))
    except NotImplementedError:
        path = None  # Object storage has no paths: fetch a copy.
    if path is not None:
        yield path
        return
    with tempfile.NamedTemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="work-") as copy:
        with default_storage.open(storage_key, "rb") as stored:
            shutil.copyfileobj(stored, copy, COPY_BYTES)
        copy.flush()
        yield Path(copy.name)


def read_part(recording: Media, *, first_byte: int, count: int) -> bytes:
    """Return so many bytes of the recording from there on, fewer at its end. Raises FileNotFoundError.

    A storage that can read ranges (`read_range`, see voxsite.storage) is asked for no more than that.
    """
    part: bytes
    read_range = getattr(default_storage, "read_range", None)
    if read_range is not None:
        part = read_range(recording.storage_key, first_byte=first_byte, count=count)
        return part
    with default_storage.open(recording.storage_key, "rb") as file:
        file.seek(first_byte)
        part = file.read(count)
    return part


class _MovableFile(File):  # type: ignore[type-arg]  # generic in the stubs only
    """A file that Django's folder storage may move instead of copying it: it looks for `temporary_file_path`."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def temporary_file_path(self) -> str:
        return str(self._path)


def _probe(
    organization: Organization, *, path: Path, size_bytes: int, may_be_truncated: bool = False
) -> tuple[probing.AudioProbe, str]:
    """Return what the file is, and its SHA-256 in hexadecimal. Raises BadMedia, TooManyUploads and NoRoom."""
    if size_bytes == 0:
        raise BadMedia("The file is empty.", error_type="empty_audio", param="file")
    try:
        found = _probe_in_turn(organization, path=path, size_bytes=size_bytes, may_be_truncated=may_be_truncated)
    except AudioError as error:
        raise BadMedia(error.message, error_type=error.type, param="file") from error
    with path.open("rb") as file:
        return found, hashlib.file_digest(file, "sha256").hexdigest()


def _probe_in_turn(
    organization: Organization, *, path: Path, size_bytes: int, may_be_truncated: bool
) -> probing.AudioProbe:
    """Probe with the time of each lane in turn, until that is enough. Raises AudioError, TooManyUploads and NoRoom."""
    unfinished: probing.Unfinished | None = None
    for lane in probe_lanes.LANES:
        try:
            with lane.place(organization.pk, size=size_bytes):
                return probing.probe_within(
                    lane.cpu_seconds,
                    path,
                    max_duration_ms=settings.MAX_AUDIO_MS,
                    may_be_truncated=may_be_truncated,
                    niceness=lane.niceness,
                )
        except probe_lanes.LaneFull as full:
            raise _no_room(full, lane=lane) from full
        except probing.Unfinished as error:
            unfinished = error
    assert unfinished is not None, "there is at least one lane"
    raise NotAudio(str(unfinished)) from unfinished


def _no_room(full: probe_lanes.LaneFull, *, lane: probe_lanes.Lane) -> VoxsiteError:
    if full.is_own:
        return TooManyUploads(retry_after=lane.retry_seconds)
    return NoRoom(retry_after=lane.retry_seconds)


def _create(
    media_id: uuid.UUID,
    *,
    organization: Organization,
    name: str,
    storage_key: str,
    size_bytes: int,
    found: probing.AudioProbe,
    sha256: str,
) -> Media:
    with transaction.atomic():
        return Media.objects.create(
            id=media_id,
            organization=organization,
            name=display_name(name),
            storage_key=storage_key,
            size_bytes=size_bytes,
            sha256=sha256,
            duration_ms=found.duration_ms,
            channels=found.channels,
            container=found.format[:40],
            codec=found.codec[:40],
        )
