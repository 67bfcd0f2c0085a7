"""The recording of a job for the browser's player, whole or in byte ranges."""

import re
import uuid
from collections.abc import AsyncIterator

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_safe

from accounts.access import organization_for
from accounts.decorators import page
from accounts.errors import NotFound
from transcription import recordings
from transcription.models import Job, Media

# A response to a Range request is held in memory, so it is short. Players request the next part by themselves.
PART_BYTES = 1024 * 1024
# No file is longer than 18 digits of bytes. int() raises for thousands of digits.
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
# Keys are PyAV's names of containers. None of the types can run scripts in a browser.
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
    position = request.GET.get("item", "1")
    if job is None or not (position.isascii() and position.isdecimal() and len(position) <= 6):
        raise NotFound("The recording is no longer stored.")
    item = job.items.select_related("media").filter(position=int(position) - 1).first()
    # The bytes of an upload may not have come yet.
    if item is None or item.media is None:
        raise NotFound("The recording is no longer stored.")
    return recording(request, item.media)


def recording(request: HttpRequest, media: Media) -> HttpResponseBase:
    """Return a recording, or the part that the Range header names. Raises NotFound without its file."""
    try:
        return _answer(request, media)
    except FileNotFoundError as error:
        raise NotFound("The recording is no longer stored.") from error


def _answer(request: HttpRequest, recording: Media) -> HttpResponseBase:
    size, content_type = recording.size_bytes, CONTENT_TYPES.get(recording.container, OTHER_TYPE)
    asked = RANGE.fullmatch(request.headers.get("Range", ""))
    response: HttpResponseBase
    if asked is None or asked.group(1) == asked.group(2) == "":
        # Reads the first part before the response begins, so that a missing file is 404 and not a broken stream.
        start = recordings.read_part(recording, first_byte=0, count=PART_BYTES)
        response = StreamingHttpResponse(_parts(recording, start=start), content_type=content_type)
        response["Content-Length"] = str(size)
    else:
        first, last = _bounds(asked, size=size)
        if first >= size or last < first:
            response = HttpResponse(status=416)
            response["Content-Range"] = f"bytes */{size}"
            return response
        part = recordings.read_part(recording, first_byte=first, count=min(last - first + 1, PART_BYTES))
        response = HttpResponse(part, status=206, content_type=content_type)
        response["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{size}"
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = "inline"
    return response


def _bounds(asked: re.Match[str], *, size: int) -> tuple[int, int]:
    """Return the first and last byte of a range. "-500" means the last 500 bytes."""
    first, last = asked.groups()
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


async def _parts(recording: Media, *, start: bytes) -> AsyncIterator[bytes]:
    """Yield the recording in parts. Under ASGI, Django would read a synchronous iterator into memory completely.

    Nothing stays open between the parts, so nothing needs to be closed when the client leaves.
    """
    part, sent = start, 0
    while part:
        yield part
        sent += len(part)
        part = await sync_to_async(recordings.read_part)(recording, first_byte=sent, count=PART_BYTES)
