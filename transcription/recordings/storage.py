"""Recordings: accept an upload, probe it, store it, fetch it for work, delete it."""

import hashlib
import logging
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile

from accounts import connections
from accounts.errors import BadMedia, TooLarge
from accounts.models import Organization
from transcription.models import Media
from transcription.recordings.names import display_name
from transcription.speech import probing
from transcription.speech.errors import AudioError

logger = logging.getLogger(__name__)

COPY_BYTES = 1024 * 1024
# A crafted file can keep a core busy until the probe's limits end it: more at once than cores would starve the pages.
_probes = threading.BoundedSemaphore(max(1, (os.cpu_count() or 2) - 1))


@contextmanager
def accepted(organization: Organization, *, upload: "UploadedFile[Any]") -> Iterator[Media]:
    """Accept an upload for as long as nothing goes wrong inside: an exception leaves no trace of it."""
    recording = accept(organization, upload=upload)
    try:
        yield recording
    except BaseException:
        discard(recording)
        raise


def accept(organization: Organization, *, upload: "UploadedFile[Any]") -> Media:
    """Probe and store an upload.

    Raises BadMedia (with the slug of what is wrong) or TooLarge, and then nothing is left behind. The probe runs in a
    child process with limits: what customers send is parsed by native code.
    """
    size_bytes = upload.size or 0
    if size_bytes == 0:
        raise BadMedia("The file is empty.", error_type="empty_audio", param="file")
    if size_bytes > settings.MAX_UPLOAD_BYTES:
        raise TooLarge(f"The file is larger than {settings.MAX_UPLOAD_BYTES // 1024**3} GiB.", param="file")
    # Probing and storing may take a minute, and a connection held for that long is one that others wait for.
    connections.release()
    with _on_disk(upload) as path:
        try:
            with _probes:
                found = probing.probe_in_child(path, max_duration_ms=settings.MAX_AUDIO_MS)
        except AudioError as error:
            raise BadMedia(error.message, error_type=error.type, param="file") from error
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        media_id = uuid.uuid4()
        storage_key = f"media/{organization.pk}/{media_id}"
        _store(storage_key, upload=upload, path=path)
    try:
        return Media.objects.create(
            id=media_id,
            organization=organization,
            name=display_name(upload.name or ""),
            storage_key=storage_key,
            size_bytes=size_bytes,
            sha256=sha256,
            duration_ms=found.duration_ms,
            channels=found.channels,
            container=found.format[:40],
            codec=found.codec[:40],
        )
    except BaseException:
        default_storage.delete(storage_key)
        raise


def discard(recording: Media) -> None:
    """Remove a recording and its bytes for good. Raises ProtectedError while a job still needs it."""
    recording.delete()
    remove_file(recording.storage_key)


def remove_file(storage_key: str) -> None:
    """Remove bytes from storage. A failure is logged and not raised: the row that pointed here is gone already."""
    try:
        default_storage.delete(storage_key)
    except Exception:  # Every storage has its own errors; the sweep will find what stays.
        logger.exception("Could not remove %s from storage.", storage_key)


def remove_files(storage_keys: Iterable[str]) -> None:
    """Remove several."""
    for storage_key in storage_keys:
        remove_file(storage_key)


@contextmanager
def local_path(recording: Media) -> Iterator[Path]:
    """Give the recording as a file on this machine for as long as the block runs."""
    try:
        yield Path(default_storage.path(recording.storage_key))
        return
    except NotImplementedError:
        pass  # Object storage has no paths: fetch a copy.
    with tempfile.NamedTemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="work-") as copy:
        with default_storage.open(recording.storage_key, "rb") as stored:
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


@contextmanager
def _on_disk(upload: "UploadedFile[Any]") -> Iterator[Path]:
    """Give the upload as a file: large ones are one already, small ones Django keeps in memory."""
    if hasattr(upload, "temporary_file_path"):
        yield Path(upload.temporary_file_path())
        return
    with tempfile.NamedTemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="upload-") as file:
        upload.seek(0)
        shutil.copyfileobj(upload, file, COPY_BYTES)
        file.flush()
        yield Path(file.name)


def _store(storage_key: str, *, upload: "UploadedFile[Any]", path: Path) -> None:
    """Store the bytes under exactly this key. A spooled upload on the same volume is moved, not copied."""
    if hasattr(upload, "temporary_file_path"):
        upload.seek(0)
        stored_key = default_storage.save(storage_key, upload)
    else:
        with path.open("rb") as file:
            stored_key = default_storage.save(storage_key, File(file))
    assert stored_key == storage_key, "the key holds a fresh UUID, so storage had no reason to choose another"
