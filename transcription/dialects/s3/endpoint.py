"""The ASGI application behind signed addresses: takes files and parts while they come, without Django's handler.

That one reads a whole body to a temporary file in the event loop before a view runs, and the view would have to copy it
once more (decision 46). No API key is asked for, since the signature stands for it. What an address may not do is
refused before a byte of the body is read.
"""

import hashlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from accounts import database_connection, outages
from accounts.errors import Conflict, VoxsiteError
from accounts.gate import concurrency, cross_origin
from accounts.gate.request_ids import request_id_for
from transcription import jobs
from transcription.dialects.s3 import bodies, wire
from transcription.dialects.s3.bodies import PATIENCE, Body, Disconnected, Patience, Receive
from transcription.dialects.s3.wire import Checksums, Fault, bad_request
from transcription.models import Upload, UploadState
from transcription.recordings import incoming, incoming_parts, orderable, signing, upload_targets, uploads
from transcription.recordings.disk_space import DiskFull
from transcription.recordings.incoming import Gone, IncomingFile
from transcription.recordings.signing import AddressExpired, BadSignature, Signed
from transcription.recordings.upload_targets import PREFIX, UPLOAD_ID

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
T = TypeVar("T")
METHODS = ("PUT", "POST", "DELETE")


@dataclass(frozen=True, slots=True)
class _Answer:
    http_status: HTTPStatus
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Address:
    """What an address names. action: "", "complete", or "parts" with its number."""

    upload_id: uuid.UUID
    action: str = ""
    number: int = 0


async def application(scope: Scope, receive: Receive, send: Send, *, patience: Patience = PATIENCE) -> None:
    """Answer one request."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    request_id = request_id_for(headers.get("x-request-id", ""))
    body = Body(receive, patience=patience)
    try:
        answer = await _answer(scope, headers, body)
    except Disconnected:
        return
    except Exception as error:  # Whatever it is, the client gets an answer in S3's form, and the log the reason.
        fault = _fault(error)
        if fault.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.exception("Request %s to a signed address failed: %s", request_id, fault.code)
        shown = wire.show_fault(fault, path=scope["path"], request_id=request_id)
        answer = _Answer(fault.http_status, shown, _retry_headers(fault))
    sent = [
        *answer.headers,
        *_cors_headers(headers),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-request-id", request_id),
    ]
    if answer.http_status != HTTPStatus.NO_CONTENT:
        sent.append(("content-length", str(len(answer.body))))
    if answer.body:
        sent.append(("content-type", wire.CONTENT_TYPE))
    if _has_body(headers) and not body.is_complete:
        # The rest of the body is not read, so the connection cannot be used again.
        sent.append(("connection", "close"))
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent]
    await send({"type": "http.response.start", "status": int(answer.http_status), "headers": encoded})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


async def _answer(scope: Scope, headers: dict[str, str], body: Body) -> _Answer:
    method, path = scope["method"], scope["path"]
    if method == "OPTIONS":
        return _preflight(headers)
    if method not in METHODS:
        raise Fault("MethodNotAllowed", HTTPStatus.METHOD_NOT_ALLOWED, f"Use one of {', '.join(METHODS)}.")
    address = _address(path)
    query = scope["query_string"].decode("latin-1")
    signed = signing.check(path, query=query, method=method, now=timezone.now())
    match method, address.action:
        case "PUT", "":
            return await _put_whole(address, signed, headers, body)
        case "PUT", "parts":
            return await _put_part(address, signed, headers, body)
        case "POST", "complete":
            return await _complete(address, signed, headers, body, path=path)
        case "DELETE", "":
            return await _abort(address, signed)
        case _:
            raise BadSignature  # Nothing else is ever signed.


async def _put_whole(address: _Address, signed: Signed, headers: dict[str, str], body: Body) -> _Answer:
    upload = await _in_database(_upload, address)
    size_bytes = _size(upload, signed, headers)
    if upload.multipart_id:
        raise bad_request("InvalidRequest", "The upload was begun in parts. Send those, or give them up.")
    sent = wire.read_checksums(headers)
    with _slot(upload):
        if upload.has_its_bytes:
            # The sender may not have heard our answer. The same bytes get it again, and nothing is written.
            file: IncomingFile = incoming.Measured()
        else:
            await _in_database(_require_space, upload)
            file = await bodies.in_thread(incoming.whole, upload.pk)
        await _fill(upload, file, body, size_bytes=size_bytes, sent=sent, then=lambda: _received(upload, file))
    return _Answer(HTTPStatus.OK, headers=(("etag", f'"{file.etag}"'),))


async def _put_part(address: _Address, signed: Signed, headers: dict[str, str], body: Body) -> _Answer:
    upload = await _in_database(_upload, address)
    _require_parts(upload, signed)
    if upload.state != UploadState.WAITING:
        raise wire.no_such_upload()
    size_bytes = _size(upload, signed, headers)
    if size_bytes != upload_targets.part_size(upload, number=address.number):
        raise bad_request("InvalidArgument", "The part has another size than parts of this upload.")
    sent = wire.read_checksums(headers)
    with _slot(upload):
        await _in_database(_require_space, upload)
        file = await bodies.in_thread(_new_part, upload, address.number)
        await _fill(upload, file, body, size_bytes=size_bytes, sent=sent, then=lambda: bodies.in_thread(file.keep))
    return _Answer(HTTPStatus.OK, headers=(("etag", f'"{file.etag}"'),))


async def _fill(
    upload: Upload,
    file: IncomingFile,
    body: Body,
    *,
    size_bytes: int,
    sent: Checksums,
    then: Callable[[], Awaitable[None]],
) -> None:
    """Write a body to a file, and then make of it what it is for. Whatever goes wrong, the file is gone afterwards."""
    md5 = None if sent.md5 is None else hashlib.md5(usedforsecurity=False)
    file.hasher = md5
    try:
        incoming.require_room(size_bytes)
        # A repeat of what has come keeps nothing, whenever it comes.
        max_seconds = None if upload.has_its_bytes else (upload.expires_at - timezone.now()).total_seconds()
        await bodies.store(body, file, size_bytes=size_bytes, max_seconds=max_seconds)
        if (md5 is not None and md5.digest() != sent.md5) or sent.crc32 not in (None, file.checksum):
            raise bad_request("BadDigest", "The bytes that came have another checksum than the one that was sent.")
        await then()
    finally:
        # Removing gigabytes takes a moment. If this task is canceled, the thread goes on.
        await bodies.in_thread(file.close)


async def _received(upload: Upload, file: IncomingFile) -> None:
    await bodies.in_slow_thread(_released, _receive, upload, file)


def _receive(upload: Upload, file: IncomingFile) -> None:
    """Make the bytes those of the upload, and have the jobs that wait for it go on. May be repeated."""
    try:
        with incoming.gone_without_folder():
            uploads.receive(upload, path=file.path, may_move=True, etag=file.etag)
        uploads.remove_incoming(upload)
    except (Conflict, Gone):
        # Perhaps they have come already: the sender has not heard our answer, or has sent them twice at once.
        uploads.refresh(upload)
        if not uploads.is_repeat(upload, etag=file.etag):
            uploads.require_waiting(upload)
            raise
    jobs.bytes_have_come(upload)


def _new_part(upload: Upload, number: int) -> IncomingFile:
    assert upload.part_bytes is not None, "the constraint upload_in_parts_has_sizes"
    return incoming_parts.part(upload.pk, multipart_id=upload.multipart_id, number=number, part_bytes=upload.part_bytes)


async def _complete(address: _Address, signed: Signed, headers: dict[str, str], body: Body, *, path: str) -> _Answer:
    upload = await _in_database(_upload, address)
    _require_parts(upload, signed)
    announced = headers.get("content-length", "0")
    if int(announced) > wire.MAX_XML_BYTES:
        raise bad_request("MaxMessageLengthExceeded", f"The body may have {wire.MAX_XML_BYTES} bytes at most.")
    with _slot(upload):
        parts = await bodies.read(body, max_bytes=wire.MAX_XML_BYTES)
        etag = await bodies.in_slow_thread(_released, _join, upload, parts)
    location = f"{settings.SITE_URL}{path.removesuffix('/complete')}"
    return _Answer(HTTPStatus.OK, wire.show_completed(location=location, key=str(upload.pk), etag=etag))


def _join(upload: Upload, body: bytes) -> str:
    """Make the listed parts the bytes of the upload. Returns the ETag of all. May be repeated."""
    etags = wire.read_parts(body, count=upload_targets.part_count(upload))
    etag = incoming_parts.joint_etag(etags)
    assert upload.part_bytes is not None, "the constraint upload_in_parts_has_sizes"
    if not upload.has_its_bytes:
        try:
            with incoming_parts.assembled(
                upload.pk, multipart_id=upload.multipart_id, etags=etags, part_bytes=upload.part_bytes
            ) as path:
                if path is None:
                    raise bad_request("InvalidPart", "A part has not come, or has another ETag than the listed one.")
                uploads.receive(upload, path=path, may_move=True, etag=etag)
                # Before the lock ends: whoever still writes to a part must not find the stored file.
                uploads.remove_incoming(upload)
        except (Conflict, Gone, Fault):
            # Perhaps another request has completed the upload while this one looked at the parts, or waited.
            uploads.refresh(upload)
            if not upload.has_its_bytes:
                raise
    if not uploads.is_repeat(upload, etag=etag):
        raise wire.no_such_upload()
    jobs.bytes_have_come(upload)
    return etag


async def _abort(address: _Address, signed: Signed) -> _Answer:
    upload = await _in_database(_upload, address)
    _require_parts(upload, signed)
    if not await _in_database(_give_up, upload):
        raise wire.no_such_upload()
    return _Answer(HTTPStatus.NO_CONTENT)


def _give_up(upload: Upload) -> bool:
    return upload_targets.give_up_parts(upload, multipart_id=upload.multipart_id)


def _address(path: str) -> _Address:
    """Return what a path names. Raises Fault."""
    words = path.removeprefix(f"{PREFIX}/").split("/")
    try:
        upload_id = uuid.UUID(words[0])
        match words[1:]:
            case []:
                return _Address(upload_id)
            case ["complete"]:
                return _Address(upload_id, "complete")
            case ["parts", number]:
                return _Address(upload_id, "parts", int(number))
    except ValueError:
        pass
    raise Fault("NoSuchKey", HTTPStatus.NOT_FOUND, "There is no such address.")


def _upload(address: _Address) -> Upload:
    """Return the upload of an address that was signed. Raises Fault and VoxsiteError if nothing can come any more."""
    upload = Upload.objects.select_related("organization").filter(pk=address.upload_id).first()
    if upload is None:
        raise wire.no_such_upload()
    uploads.require_waiting_or_received(upload)
    return upload


def _require_space(upload: Upload) -> None:
    """Raise Conflict if the organization has stored too much without a transcript."""
    orderable.require_space(upload.organization, api_key=upload.api_key)


def _require_parts(upload: Upload, signed: Signed) -> None:
    """Raise Fault unless the address is of the upload in parts that runs now, or has come."""
    if not upload.multipart_id or signed.fields.get(UPLOAD_ID) != upload.multipart_id:
        raise wire.no_such_upload()


def _size(upload: Upload, signed: Signed, headers: dict[str, str]) -> int:
    """Return the size of a body, before it is read. Raises Fault for one that the address does not allow."""
    announced = headers.get("content-length")
    if announced is None or "transfer-encoding" in headers:
        raise Fault("MissingContentLength", HTTPStatus.LENGTH_REQUIRED, "Send the size of the body as Content-Length.")
    size_bytes = int(announced)  # The server has read it as a number.
    if signed.size_bytes is not None and size_bytes != signed.size_bytes:
        code = "EntityTooLarge" if size_bytes > signed.size_bytes else "IncompleteBody"
        raise bad_request(code, f"The body must have {signed.size_bytes} bytes, as was declared.")
    if size_bytes > settings.MAX_SIGNED_UPLOAD_BYTES:
        raise bad_request("EntityTooLarge", f"A file may have {settings.MAX_SIGNED_UPLOAD_BYTES} bytes at most.")
    if size_bytes == 0:
        raise bad_request("IncompleteBody", "The body is empty.")
    if signed.content_type and headers.get("content-type", "") != signed.content_type:
        raise Fault(
            "SignatureDoesNotMatch",
            HTTPStatus.FORBIDDEN,
            f"Send the Content-Type that was signed: {signed.content_type}",
        )
    return size_bytes


@contextmanager
def _slot(upload: Upload) -> Iterator[None]:
    """Count an open request of the organization. Raises Fault if it has as many as it may."""
    slot = concurrency.ConcurrencySlot()
    if not slot.acquire(("uploads", upload.organization_id), limit=settings.MAX_OPEN_UPLOADS):
        raise Fault(
            "SlowDown",
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"Your organization sends {settings.MAX_OPEN_UPLOADS} files or parts at once, which is the limit.",
        )
    try:
        yield
    finally:
        slot.release()


async def _in_database(call: Callable[..., T], *args: Any) -> T:
    return await sync_to_async(_released, thread_sensitive=False)(call, *args)


def _released(call: Callable[..., T], *args: Any) -> T:
    """Return what the call returns, and keep no connection to the database in this thread."""
    try:
        return call(*args)
    finally:
        database_connection.release()


def _fault(error: Exception) -> Fault:
    match error:
        case Fault():
            return error
        case BadSignature():
            return Fault("SignatureDoesNotMatch", HTTPStatus.FORBIDDEN, error.message)
        case AddressExpired():
            return Fault("AccessDenied", HTTPStatus.FORBIDDEN, "Request has expired. Ask for a new address.")
        case VoxsiteError():
            return wire.fault_of(error)
        case Gone():
            return wire.no_such_upload()
        case DiskFull():
            message = "There is no room for these bytes now. Try again later."
            return Fault("InsufficientStorage", HTTPStatus.INSUFFICIENT_STORAGE, message)
        case _ if (outage := outages.error_of(error)) is not None:
            return Fault("ServiceUnavailable", HTTPStatus.SERVICE_UNAVAILABLE, outage.message)
        case _:
            return Fault("InternalError", HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side.")


def _retry_headers(fault: Fault) -> tuple[tuple[str, str], ...]:
    match fault.http_status:
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return (("retry-after", "1"),)
        case HTTPStatus.INSUFFICIENT_STORAGE:
            return (("retry-after", "60"),)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return (("allow", ", ".join(METHODS)),)
        case _:
            return ()


def _cors_headers(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Let pages of any site read the answer: who has the address may use it, and cookies count for nothing here."""
    return cross_origin.ANSWER_HEADERS if "origin" in headers else ()


def _preflight(headers: dict[str, str]) -> _Answer:
    asked = headers.get("access-control-request-headers", "")
    return _Answer(HTTPStatus.NO_CONTENT, headers=cross_origin.preflight_headers(METHODS, asked_headers=asked))


def _has_body(headers: dict[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
