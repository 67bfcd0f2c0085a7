"""Requests to signed addresses as a server calls the application, and what is left of them."""

import asyncio
import base64
import hashlib
import os
import zlib
from urllib.parse import urlsplit
from xml.etree.ElementTree import fromstring

from django.core.files.storage import default_storage

from tests.fixtures import recordings as samples
from tests.transcription.dialects.waiting_calls import in_thread
from transcription import jobs
from transcription.models import Upload
from transcription.recordings import incoming_parts, upload_targets, uploads
from voxsite import asgi

SITE = "http://localhost:8000"


MIB = 1024**2


SPEECH = samples.named("sentence-slt.wav").path.read_bytes()


# Three parts, the last one small.
LARGE = os.urandom(5 * MIB) + os.urandom(5 * MIB) + os.urandom(1000)


PARTS = [LARGE[: 5 * MIB], LARGE[5 * MIB : 10 * MIB], LARGE[10 * MIB :]]


class Answer:
    """What came back. taken: how many pieces of the body the application asked for."""

    def __init__(self):
        self.status = None
        self.headers = {}
        self.body = b""
        self.taken = 0

    @property
    def code(self):
        return fromstring(self.body).findtext("Code")

    @property
    def etag(self):
        return self.headers["etag"].strip('"')


async def exchange(
    method,
    url,
    body=b"",
    *,
    headers=None,
    size=None,
    leaves_after=None,
    chunked=False,
    before_end=None,
    pause=0.0,
    application=asgi.application,
):
    """Send a request and return the Answer.

    size: the Content-Length, if not the body's. leaves_after: how many pieces come before the client leaves.
    before_end: awaited before the last piece. pause: seconds before each piece. application: what answers.
    """
    parts = urlsplit(url)
    pieces = [body[start : start + 256 * 1024] for start in range(0, len(body), 256 * 1024)] or [b""]
    answer = Answer()
    given = {"host": "localhost", **(headers or {})}
    if chunked:
        given["transfer-encoding"] = "chunked"
    elif method in {"PUT", "POST"}:
        given["content-length"] = str(len(body) if size is None else size)

    async def receive():
        if leaves_after is not None and answer.taken >= leaves_after:
            return {"type": "http.disconnect"}
        if answer.taken == len(pieces) - 1 and before_end is not None:
            await before_end()
        answer.taken += 1
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": pieces[answer.taken - 1], "more_body": answer.taken < len(pieces)}

    async def send(message):
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message["body"]

    scope = {
        "type": "http",
        "method": method,
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }
    await application(scope, receive, send)
    return answer


def call(method, url, body=b"", **kwargs):
    return asyncio.run(exchange(method, url, body, **kwargs))


def etag_of(content):
    return f"{zlib.crc32(content):08x}-{len(content)}"


def begin(organization, content=SPEECH, **fields):
    return uploads.begin(organization, **{"name": "call.wav", "declared_bytes": len(content), **fields})


def target_of(upload, **wishes):
    return upload_targets.instructions(Upload.objects.get(pk=upload.pk), site_url=SITE, **wishes)


def begin_parts(organization, content=LARGE):
    upload = begin(organization, content)
    return upload, target_of(upload, part_bytes=5 * MIB)


def url_of(target, number):
    return dict(target.parts)[number]


def put_parts(target, contents=PARTS):
    return [call("PUT", url_of(target, number), content).etag for number, content in enumerate(contents, start=1)]


def listed(etags):
    parts = (f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(etags, start=1))
    return f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()


def left(settings):
    return [path for path in settings.INCOMING_DIR.rglob("*") if path.is_file()]


def has_no_bytes(settings):
    """Tell whether of one upload in parts only the file for all of them is there, empty."""
    return [(path.name, path.stat().st_size) for path in left(settings)] == [(incoming_parts.PARTS, 0)]


def stored(tmp_path):
    return [path for path in (tmp_path / "media").rglob("*") if path.is_file()]


def state(upload):
    return Upload.objects.get(pk=upload.pk).state


def content_of(upload):
    with default_storage.open(Upload.objects.get(pk=upload.pk).storage_key) as file:
        return file.read()


def checksum(name, content):
    if name == "content-md5":
        return base64.b64encode(hashlib.md5(content).digest()).decode()
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


def deletion_of(job):
    async def delete():
        await in_thread(lambda: jobs.delete(job))

    return delete
