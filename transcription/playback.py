"""The recording of a job for the browser's player, whole or in the parts that it asks for."""

import re
import uuid
from collections.abc import AsyncIterator

from asgiref.sync import sync_to_async
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_safe

from accounts.access import organization_for
from accounts.errors import NotFound
from accounts.page import page
from transcription.models import Job

# An answer to a Range request is held in memory, so it is short; players ask for the next part by themselves.
PART_BYTES = 1024 * 1024
# No file has more digits of bytes; int() of thousands of them is an error.
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
# By PyAV's names of containers. Never a type that a browser would run.
CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
    "matroska,webm": "video/webm",
    "mov,mp4,m4a,3gp,3g2,mj2": "video/mp4",
}
OTHER_TYPE = "application/octet-stream"


@page
@require_safe
def audio(request: HttpRequest, job_id: uuid.UUID) -> HttpResponseBase:
    """Return the recording, or the part that the Range header names."""
    job = Job.objects.of(organization_for(request)).filter(pk=job_id).first()
    item = job.items.select_related("media").first() if job else None
    if item is None or item.media.deleted_at is not None:
        raise NotFound("The recording is not kept any more.")
    try:
        file = default_storage.open(item.media.storage_key, "rb")
    except FileNotFoundError as error:
        raise NotFound("The recording is not kept any more.") from error
    return _answer(
        request, file, size=item.media.size_bytes, content_type=CONTENT_TYPES.get(item.media.container, OTHER_TYPE)
    )


def _answer(request: HttpRequest, file: "File[bytes]", *, size: int, content_type: str) -> HttpResponseBase:
    asked = RANGE.fullmatch(request.headers.get("Range", ""))
    response: HttpResponseBase
    if asked is None or asked.group(1) == asked.group(2) == "":
        response = StreamingHttpResponse(_parts(file), content_type=content_type)
        response["Content-Length"] = str(size)
    else:
        first, last = _bounds(asked, size=size)
        if first >= size or last < first:
            file.close()
            response = HttpResponse(status=416)
            response["Content-Range"] = f"bytes */{size}"
            return response
        with file:
            file.seek(first)
            part = file.read(min(last - first + 1, PART_BYTES))
        response = HttpResponse(part, status=206, content_type=content_type)
        response["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{size}"
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = "inline"
    return response


def _bounds(asked: re.Match[str], *, size: int) -> tuple[int, int]:
    """Return the first and last byte that are asked for; "-500" means the last 500."""
    first, last = asked.groups()
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


async def _parts(file: "File[bytes]") -> AsyncIterator[bytes]:
    """Yield the file in parts. Asynchronous: under ASGI Django would read a synchronous one into memory whole."""
    try:
        while part := await sync_to_async(file.read)(PART_BYTES):
            yield part
    finally:
        await sync_to_async(file.close)()
