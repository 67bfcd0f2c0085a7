"""Reads the JSON bodies about jobs: `POST /jobs`, `POST /transcribe` with files, and those about their uploads. Pure.

Sources: as `wire`. The two generations of the packages post `{"files": [...]}` to `/transcribe`, and the documentation
has `{"type": "big_file" | "batch", ...}` at `/jobs`. Both are a list of files here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from accounts.errors import InvalidField
from transcription.dialects.transcribeapi import wire
from transcription.dialects.transcribeapi.errors import JOB_REQUEST, Refused
from transcription.dialects.transcribeapi.wire import Asked
from transcription.speech.capabilities import ModelCapabilities

MAX_FILES = 10_000
MAX_TOTAL_BYTES = 10 * 1000**3
# How many upload addresses one request may ask for.
MAX_PAGE = 1_000
MAX_NAME_LENGTH = 200
MAX_TYPE_LENGTH = 100
# "MP4 video uploads are not supported": the only format that is refused by its name. What a file is, its bytes say.
REFUSED_SUFFIXES = (".mp4",)
REFUSED_TYPES = ("video/mp4",)
# What media types of recordings begin with.
MEDIA = ("audio/", "video/", "application/octet-stream", "application/ogg", "binary/octet-stream")
UPLOAD_TYPES = ("put", "multipart")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One recording of a job. url: "" for a file that will be sent. language: None for that of the job."""

    reference: str = ""
    name: str = ""
    size_bytes: int | None = None
    content_type: str = ""
    url: str = ""
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The files of a job, and what is asked for all of them."""

    asked: Asked
    files: tuple[File, ...]

    @property
    def is_batch(self) -> bool:
        return len(self.files) > 1


def read_job(body: Mapping[str, Any], *, capabilities_of: Callable[[str], ModelCapabilities]) -> Manifest:
    """Return what `POST /jobs` asks for. Raises Refused and InvalidField."""
    kind = body.get("type")
    if kind == "batch":
        return read_files(body, capabilities_of=capabilities_of)
    if kind != "big_file":
        raise Refused(JOB_REQUEST, "type must be big_file or batch.", param="type")
    source = body.get("source")
    if source is not None and not (isinstance(source, dict) and source.get("type") in (None, "url")):
        raise Refused(JOB_REQUEST, 'source must be {"type": "url", "url": "https://..."}.', param="source")
    file = {name: body[name] for name in ("reference_id", "filename", "size_bytes", "content_type") if name in body}
    url = (source or body).get("url")
    if source is not None and url is None:
        raise Refused(JOB_REQUEST, "source.url is required.", param="source.url")
    if url is not None:
        file = {"url": url, **{name: file[name] for name in ("reference_id", "filename") if name in file}}
    return _manifest(body, [file], capabilities_of=capabilities_of)


def read_files(body: Mapping[str, Any], *, capabilities_of: Callable[[str], ModelCapabilities]) -> Manifest:
    """Return what a body with `files` asks for. Raises Refused and InvalidField."""
    files = body.get("files")
    if not isinstance(files, list) or not files:
        raise Refused(JOB_REQUEST, "files must be a list of one file at least.", param="files")
    return _manifest(body, files, capabilities_of=capabilities_of)


def read_page(body: Mapping[str, Any]) -> tuple[File, ...]:
    """Return the files whose upload addresses are asked for, by their reference. Raises Refused."""
    files = body.get("files", body.get("file_ids"))
    if not isinstance(files, list) or not 1 <= len(files) <= MAX_PAGE:
        raise Refused(
            "invalid_upload_page", f"files must be a list of 1 to {MAX_PAGE} files.", param="files", max_files=MAX_PAGE
        )
    page = []
    for at, entry in enumerate(files):
        named = {"file_id": entry} if isinstance(entry, str) else entry
        if not isinstance(named, dict):
            raise _bad_metadata(f"files[{at}]", "must be an object with a file_id.")
        file = _file(named, at=at, known=frozenset(), fault=_bad_metadata)
        if not file.reference:
            raise _bad_metadata(f"files[{at}].file_id", "is required.")
        page.append(file)
    return tuple(page)


def read_resumed(body: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return (type, key, upload_id) of the upload that goes on; the last is "" for a single PUT. Raises Refused."""
    upload = body.get("upload", body)
    if not isinstance(upload, dict):
        raise Refused("invalid_upload", "upload must be an object with type, key and upload_id.", param="upload")
    kind = upload.get("type")
    if kind is None:
        raise Refused("invalid_upload", "upload.type is required: put or multipart.", param="upload.type")
    if kind not in UPLOAD_TYPES:
        raise Refused("invalid_upload_type", "upload.type must be multipart or put.", param="upload.type")
    names = ("key", "upload_id") if kind == "multipart" else ()
    for name in names:
        if not isinstance(upload.get(name), str) or not upload[name]:
            raise Refused("invalid_upload", f"upload.{name} is required, as the first answer had it.", param=name)
    key, upload_id = upload.get("key", ""), upload.get("upload_id", "")
    return kind, key if isinstance(key, str) else "", upload_id if isinstance(upload_id, str) else ""


def require_same_size(file: File, *, declared_bytes: int | None) -> None:
    """Raise Refused if a page states another size than the job was created with."""
    if file.size_bytes is not None and declared_bytes is not None and file.size_bytes != declared_bytes:
        raise _bad_metadata(
            f"file '{file.reference[:64]}'", f"was declared with {declared_bytes} bytes, not {file.size_bytes}."
        )


def _manifest(
    body: Mapping[str, Any], entries: list[Any], *, capabilities_of: Callable[[str], ModelCapabilities]
) -> Manifest:
    if len(entries) > MAX_FILES:
        raise Refused(
            "too_many_files",
            f"A job may have {MAX_FILES} files, not {len(entries)}.",
            param="files",
            max_files=MAX_FILES,
        )
    fields = {name: _text(body[name], name) for name in wire.FIELDS if body.get(name) is not None}
    fields.pop("url", None)
    asked = wire.read(fields, capabilities_of=capabilities_of)
    known = capabilities_of(asked.model).languages
    files = tuple(
        _file(entry, at=at, known=known, fault=_bad_request if len(entries) == 1 else _bad_metadata)
        for at, entry in enumerate(entries)
    )
    _require_distinct(files)
    total_bytes = sum(file.size_bytes or 0 for file in files)
    if total_bytes > MAX_TOTAL_BYTES:
        raise Refused(
            "batch_too_large",
            f"The files have {total_bytes} bytes; a job may have {MAX_TOTAL_BYTES // 1000**3} GB.",
            param="files",
            max_bytes=MAX_TOTAL_BYTES,
        )
    _require_totals(body, files=files, total_bytes=total_bytes)
    # Addresses of a page are asked for by reference, so each file that is sent has one.
    return Manifest(asked=asked, files=tuple(_with_reference(file, at=at) for at, file in enumerate(files)))


def _with_reference(file: File, *, at: int) -> File:
    return file if file.reference else replace(file, reference=f"file_{at + 1:06d}")


def _file(entry: Any, *, at: int, known: frozenset[str], fault: Callable[[str, str], Refused]) -> File:
    where = f"files[{at}]"
    if not isinstance(entry, dict):
        raise _bad_request(where, "must be an object.")
    values = {
        name: entry[name].strip() if isinstance(entry[name], str) else entry[name]
        for name in ("reference_id", "file_id", "filename", "content_type", "url", "language")
        if entry.get(name) is not None
    }
    for name, value in values.items():
        if not isinstance(value, str) or "\x00" in value:
            raise fault(f"{where}.{name}", "must be a text.")
    reference = values.get("reference_id") or values.get("file_id", "")
    name, content_type = values.get("filename", ""), values.get("content_type", "").lower()
    if len(reference) > wire.MAX_REFERENCE_LENGTH:
        raise fault(f"{where}.reference_id", f"may have {wire.MAX_REFERENCE_LENGTH} characters at most.")
    if len(name) > MAX_NAME_LENGTH or len(content_type) > MAX_TYPE_LENGTH:
        raise fault(f"{where}.filename", "or its content_type is too long.")
    if name.lower().endswith(REFUSED_SUFFIXES) or content_type.startswith(REFUSED_TYPES):
        raise fault(f"{where}.filename", "is an MP4 video, which is not supported. Send mp3, m4a, wav or webm.")
    if content_type and not content_type.startswith(MEDIA):
        raise fault(f"{where}.content_type", "is no audio type.")
    if "url" in values and not values["url"]:
        raise fault(f"{where}.url", "is empty.")
    if "url" in values and entry.get("size_bytes") is not None:
        raise fault(f"{where}.size_bytes", "is for files that you send, not for a url.")
    return File(
        reference=reference,
        name=name,
        size_bytes=_size(entry.get("size_bytes"), f"{where}.size_bytes", fault=fault),
        content_type=content_type,
        url=values.get("url", ""),
        language=_language(values.get("language"), where=where, known=known),
    )


def _language(tag: str | None, *, where: str, known: frozenset[str]) -> str | None:
    """Return the code, "auto" to detect the language of this file, None for the language of the job."""
    if tag is None or not known:
        return None
    return wire.language_of(tag, known=known, field=f"{where}.language") or "auto"


def _size(value: Any, where: str, *, fault: Callable[[str, str], Refused]) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise fault(where, "must be the number of bytes, at least 1.")
    if value > MAX_TOTAL_BYTES:
        raise Refused(
            "batch_too_large",
            f"{where} is {value}; a file may have {MAX_TOTAL_BYTES // 1000**3} GB.",
            param=where,
            max_bytes=MAX_TOTAL_BYTES,
        )
    return value


def _require_distinct(files: tuple[File, ...]) -> None:
    seen: set[str] = set()
    for at, file in enumerate(files):
        reference = _with_reference(file, at=at).reference
        if reference in seen:
            raise Refused(
                JOB_REQUEST,
                f"The reference_id '{reference[:64]}' names two files. It must name one.",
                param=f"files[{at}].reference_id",
            )
        seen.add(reference)


def _require_totals(body: Mapping[str, Any], *, files: tuple[File, ...], total_bytes: int) -> None:
    """Raise Refused if totals that the caller states are not those of the files."""
    count = body.get("total_files")
    if count is not None and count != len(files):
        raise Refused(JOB_REQUEST, f"total_files is {count!r:.20}, but files has {len(files)}.", param="total_files")
    stated = body.get("total_size_bytes")
    # A file without a size has a byte at least.
    min_bytes = total_bytes + sum(file.size_bytes is None for file in files)
    is_exact = min_bytes == total_bytes
    if stated is not None and (not _is_count(stated) or stated < min_bytes or (is_exact and stated != total_bytes)):
        raise Refused(
            JOB_REQUEST,
            f"total_size_bytes is {stated!r:.20}, but the files have {total_bytes}.",
            param="total_size_bytes",
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any, name: str) -> str:
    """Return a field of a JSON object as a form would send it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if name == "exclude" and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    raise InvalidField(name, f"{name} must be a text.")


def _bad_request(where: str, what: str) -> Refused:
    return Refused(JOB_REQUEST, f"{where} {what}", param=where)


def _bad_metadata(where: str, what: str) -> Refused:
    return Refused("invalid_file_metadata", f"{where} {what}", param=where)
