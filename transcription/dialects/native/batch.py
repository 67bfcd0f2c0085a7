"""Batches in the native wire format: the `files` of a JSON request, the items of a job, the result of all. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accounts.errors import InvalidField, UnknownField
from accounts.gate.times import show_time
from transcription.dialects.native import answers, values, wire
from transcription.dialects.native.json_body import FILES
from transcription.speech import language_tags
from transcription.speech.transcript import Transcript

if TYPE_CHECKING:
    # For annotations only.
    from transcription.models import Job, JobItem

# Of each of the files of POST /v1/transcribe.
FILE_FIELDS = ("file_id", "url", "reference", "language")
MAX_PER_PAGE = 500
DEFAULT_PER_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFields:
    """One file of a batch as it was asked for: a file_id or a url, the customer's own name of it, its language."""

    file_id: str
    url: str
    reference: str
    language: str


def read_files(body: Mapping[str, Any], *, known: frozenset[str]) -> list[FileFields]:
    """Return the files of a JSON object that has them. known: the languages of the chosen model.

    Raises InvalidField and UnknownField, whose param begins with `files`.
    """
    sent = body[FILES]
    if not isinstance(sent, list) or not all(isinstance(one, dict) for one in sent):
        raise InvalidField(FILES, "files must be a list of objects, each with a file_id or a url.")
    for name in ("file", "file_id", "url"):
        if body.get(name):
            raise InvalidField(name, f"Send either files or {name}.")
    return [_read_file(one, path=f"{FILES}[{number}]", known=known) for number, one in enumerate(sent)]


def read_file_language(language: str, *, path: str, known: frozenset[str]) -> str:
    """Return the language of one of the files as it is kept, "" for that of the job. path: such as files[0]."""
    if language.lower() in language_tags.DETECT:
        return "auto"
    return wire.read_language(f"{path}.language", language, known=known) if language else ""


def read_item(query: Mapping[str, str]) -> int | None:
    """Return the position of the item that is asked for, from 0 on, None for the whole job."""
    number = values.whole(query, "item", default=0, minimum=1)
    return number - 1 if number else None


def read_page(query: Mapping[str, str]) -> tuple[int, int]:
    """Return (limit, position of the first item)."""
    limit = values.whole(query, "limit", default=DEFAULT_PER_PAGE, minimum=1)
    return min(limit, MAX_PER_PAGE), values.whole(query, "cursor", default=0, minimum=0)


def show_items(job: "Job", *, items: list["JobItem"], limit: int) -> dict[str, Any]:
    """Return one page of items. items: up to one more than the limit, which tells that there is a next page."""
    return {
        "job_id": str(job.id),
        **answers.show_counters(job),
        "items": [show_item(item, job=job) for item in items[:limit]],
        "limit": limit,
        "next_cursor": str(items[limit].position) if len(items) > limit else None,
    }


def show_item(item: "JobItem", *, job: "Job") -> dict[str, Any]:
    """Return one item of a job, without its text."""
    status = answers.STATUS_WORDS[item.status]
    is_completed = status == "completed"
    cost_micros = item.cost_micros if item.cost_micros is not None else 0 if item.is_final else None
    return {
        "item": item.position + 1,
        "reference": item.reference or None,
        "name": item.name,
        "status": status,
        "progress": item.progress,
        "language": item.language or None,
        "duration_seconds": item.media.duration_ms / 1000 if item.media else None,
        "cost_dollars": None if cost_micros is None else answers.show_dollars(cost_micros),
        "error": {"type": item.error_type, "message": item.error_message} if item.error_type else None,
        "result_url": f"/v1/jobs/{job.id}/result?item={item.position + 1}" if is_completed else None,
    }


def document(job: "Job", results: Iterable[tuple["JobItem", Transcript | None]]) -> Iterator[bytes]:
    """Yield the result of a batch, one JSON object, in parts of an item each."""
    head = {
        "job_id": str(job.id),
        "model": job.model,
        "metadata": job.metadata,
        "created_at": show_time(job.created_at),
        **answers.show_counters(job),
    }
    yield _dump(head)[:-1] + b', "items": ['
    for number, (item, transcript) in enumerate(results):
        shown = show_item(item, job=job)
        shown["result"] = None if transcript is None else answers.show_transcript(transcript, job=job)
        if transcript is None and shown["error"] is None and shown["status"] == "completed":
            shown["error"] = {"type": "result_not_found", "message": "The result is no longer stored."}
        yield (b", " if number else b"") + _dump(shown)
    yield b"]}"


def _read_file(sent: Mapping[str, Any], *, path: str, known: frozenset[str]) -> FileFields:
    texts = {}
    for name, value in sent.items():
        if name not in FILE_FIELDS:
            raise UnknownField(f"{path}.{values.short(name)}", known=list(FILE_FIELDS))
        if value is not None and not isinstance(value, str):
            raise InvalidField(f"{path}.{name}", f"{name} must be a text.")
        if value and "\x00" in value:
            raise InvalidField(f"{path}.{name}", f"{name} has a NUL character in it.")
        texts[name] = (value or "").strip()
    file_id, url, language = texts.get("file_id", ""), texts.get("url", ""), texts.get("language", "")
    if bool(file_id) is bool(url):
        raise InvalidField(path, "Each of the files needs either a file_id or a url.")
    language = read_file_language(language, path=path, known=known)
    return FileFields(file_id=file_id, url=url, reference=texts.get("reference", ""), language=language)


def _dump(shown: Mapping[str, Any]) -> bytes:
    return json.dumps(shown, ensure_ascii=False).encode()
