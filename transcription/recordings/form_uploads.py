"""The adapter between a file of a multipart form, as Django gives it, and storage."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from accounts.models import Organization
from transcription.models import Media
from transcription.recordings import storage


@contextmanager
def accepted(
    organization: Organization, *, upload: "UploadedFile[Any]", may_be_truncated: bool = False
) -> Iterator[Media]:
    """Accept a form's file for as long as nothing goes wrong inside: an exception leaves no trace of it."""
    recording = accept(organization, upload=upload, may_be_truncated=may_be_truncated)
    try:
        yield recording
    except BaseException:
        storage.discard(recording)
        raise


def accept(organization: Organization, *, upload: "UploadedFile[Any]", may_be_truncated: bool = False) -> Media:
    """Probe and store a form's file. Raises BadMedia or TooLarge, and then nothing is left behind."""
    with _on_disk(upload) as path:
        return storage.accept_file(
            organization,
            path=path,
            name=upload.name or "",
            may_move=hasattr(upload, "temporary_file_path"),
            may_be_truncated=may_be_truncated,
        )


@contextmanager
def _on_disk(upload: "UploadedFile[Any]") -> Iterator[Path]:
    """Give the upload as a file: Django keeps large ones in a file already, and small ones in memory."""
    if hasattr(upload, "temporary_file_path"):
        yield Path(upload.temporary_file_path())
        return
    with tempfile.NamedTemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="upload-") as file:
        upload.seek(0)
        shutil.copyfileobj(upload, file, storage.COPY_BYTES)
        file.flush()
        yield Path(file.name)
