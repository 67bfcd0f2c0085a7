"""Shows where a file is to be sent, in TranscribeAPI's shape."""

from typing import Any

from transcription.models import JobItem, UploadState
from transcription.recordings import upload_targets
from transcription.recordings.upload_targets import MultipartTarget, PutTarget

# The packages state the size of files that they want to send in parts, from 100 MiB on.
PART_BYTES = 5 * 1024**2


def show(item: JobItem, *, site_url: str) -> dict[str, Any]:
    """Return the file of an item and how it is sent: in one request, or in parts as to S3. Addresses live an hour."""
    assert item.upload is not None, "the item waits for its upload"
    is_large = (item.upload.declared_bytes or 0) > upload_targets.MAX_PUT_BYTES
    target = upload_targets.instructions(item.upload, site_url=site_url, part_bytes=PART_BYTES if is_large else None)
    return {
        "reference_id": item.reference,
        "file_id": item.reference,
        "filename": item.name,
        "upload": show_target(target, key=item.upload.storage_key),
    }


def show_target(target: PutTarget | MultipartTarget, *, key: str) -> dict[str, Any]:
    """Return upload instructions."""
    if isinstance(target, PutTarget):
        return {"type": "put", "key": key, "url": target.url, "headers": dict(target.headers)}
    return {
        "type": "multipart",
        "key": target.key,
        "upload_id": target.upload_id,
        "part_size": target.part_bytes,
        "parts": [{"part_number": number, "url": url} for number, url in target.parts],
        "complete_url": target.complete_url,
        "abort_url": target.abort_url,
    }


def show_if_waiting(item: JobItem, *, site_url: str) -> dict[str, Any]:
    """Return the same, without `upload` for a file that has come already."""
    assert item.upload is not None, "the file was announced"
    if item.upload.state == UploadState.WAITING:
        return show(item, site_url=site_url)
    return {
        "reference_id": item.reference,
        "file_id": item.reference,
        "filename": item.name,
        "status": item.upload.state,
    }
