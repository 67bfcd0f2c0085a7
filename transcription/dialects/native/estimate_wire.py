"""The fields of `POST /v1/estimate`, and its answer. Pure translation.

An estimate takes the body of the call that it is about, so that a program sends the same JSON to both addresses.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from accounts.errors import InvalidField, MissingField, UnknownField, refuse_unknown
from transcription.dialects.native import answers, batch, values, wire
from transcription.dialects.native.json_body import FILES
from transcription.speech.options import MAX_PROMPT_LENGTH

if TYPE_CHECKING:
    # For annotations only. At run time this module imports no models.
    from transcription.estimates import Estimate

TRANSCRIPTION, DETECTION, CHAT, ANSWER, REWRITING = KINDS = (
    "transcription",
    "language_detection",
    "chat",
    "answer",
    "rewriting",
)
# Of a recording that is described by its length.
LENGTH_FIELDS = ("duration_seconds", "channel_count")
# What names or describes recordings.
SOURCE_FIELDS = ("file_id", "url", FILES, *LENGTH_FIELDS)
# Kind -> its fields beside `kind`.
FIELDS: Mapping[str, tuple[str, ...]] = {
    TRANSCRIPTION: (*LENGTH_FIELDS, *(name for name in wire.FIELDS if name != "file")),
    DETECTION: (*SOURCE_FIELDS, "model"),
    CHAT: ("request",),
    ANSWER: ("job_id", "question"),
    REWRITING: ("job_id", "instruction", "model", "max_tokens"),
}
FILE_FIELDS = (*batch.FILE_FIELDS, *LENGTH_FIELDS)
# As many as there are in any container that is read.
MAX_CHANNELS = 255
MAX_LLM_TOKENS = 65_536


def read_kind(body: Mapping[str, Any]) -> str:
    """Return the kind of call. Raises InvalidField, and UnknownField for a field that this kind has not."""
    kind = body.get("kind", TRANSCRIPTION)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidField("kind", f"kind must be one of {', '.join(KINDS)}.")
    refuse_unknown(body, known=["kind", *FIELDS[kind]])
    return kind


def read_lengths(body: Mapping[str, Any], *, max_duration_ms: int, max_files: int) -> list[tuple[str, int, int]]:
    """Return (file_id, duration in ms, channels) of each recording. Of a stored file only the file_id counts.

    max_duration_ms: of one recording. Raises MissingField, InvalidField and UnknownField.
    """
    if FILES not in body:
        return [_read_length(body, path="", max_duration_ms=max_duration_ms)]
    sent = body[FILES]
    if not isinstance(sent, list) or not all(isinstance(one, dict) for one in sent):
        raise InvalidField(FILES, "files must be a list of objects, each with a file_id or a duration_seconds.")
    if not 1 <= len(sent) <= max_files:
        raise InvalidField(FILES, f"A job has 1 to {max_files} files.")
    for name in ("file_id", "url", *LENGTH_FIELDS):
        if body.get(name) is not None:
            raise InvalidField(name, f"Send either files or {name}.")
    lengths = []
    for number, one in enumerate(sent):
        path = f"{FILES}[{number}]."
        for name in one:
            if name not in FILE_FIELDS:
                raise UnknownField(f"{path}{values.short(name)}", known=list(FILE_FIELDS))
        for name in ("reference", "language"):
            _text(one, name, path=path)
        lengths.append(_read_length(one, path=path, max_duration_ms=max_duration_ms))
    return lengths


def read_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a chat request. Its own faults are found by the chat endpoint's code."""
    request = body.get("request")
    if request is None:
        raise MissingField("request", "Send the body of the chat request as 'request'.")
    if not isinstance(request, dict):
        raise InvalidField("request", "request must be an object: the body of the chat request.")
    if request.get("model") is None:
        raise MissingField("model")
    return request


def read_text(body: Mapping[str, Any], name: str, *, is_required: bool = False) -> str:
    """Return a text, "" for none. Raises InvalidField, and MissingField if it is required."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidField(name, f"{name} must be a text.")
    if is_required and not (value or "").strip():
        raise MissingField(name)
    return (value or "").strip()


def read_instruction(body: Mapping[str, Any]) -> tuple[str, str | None, int | None]:
    """Return (instruction, model, limit of tokens) of a rewriting, None for a default."""
    instruction = read_text(body, "instruction", is_required=True)
    if len(instruction) > MAX_PROMPT_LENGTH:
        raise InvalidField("instruction", f"instruction may have {MAX_PROMPT_LENGTH} characters.")
    max_tokens = body.get("max_tokens")
    if max_tokens is not None:
        max_tokens = _whole(max_tokens, "max_tokens", maximum=MAX_LLM_TOKENS)
    return instruction, read_text(body, "model") or None, max_tokens


def show_estimate(kind: str, estimate: "Estimate") -> dict[str, Any]:
    """Return the answer. Amounts are in whole micro-dollars, and in dollars with six places."""
    refusal = estimate.refusal
    shown: dict[str, Any] = {
        "kind": kind,
        "model": estimate.model,
        **_amount("cost", estimate.cost_micros),
        **_amount("max_cost", estimate.max_cost_micros),
        **_amount("held", estimate.held_micros),
        "is_allowed": refusal is None,
        "refusal": None if refusal is None else {"type": refusal.type, "message": refusal.message, **refusal.data},
    }
    if estimate.recordings:
        shown["recordings"] = [
            {"duration_seconds": duration_ms / 1000, **_amount("cost", cost_micros)}
            for duration_ms, cost_micros in estimate.recordings
        ]
    if estimate.prompt_tokens is not None:
        shown["prompt_tokens"] = estimate.prompt_tokens
        shown["max_completion_tokens"] = estimate.completion_tokens
    return shown


def _amount(name: str, micros: int) -> dict[str, Any]:
    return {f"{name}_micros": micros, f"{name}_dollars": answers.show_dollars(micros)}


def _read_length(sent: Mapping[str, Any], *, path: str, max_duration_ms: int) -> tuple[str, int, int]:
    file_id = _text(sent, "file_id", path=path)
    seconds = sent.get("duration_seconds")
    if file_id:
        for name in ("url", *LENGTH_FIELDS):
            if sent.get(name) is not None:
                raise InvalidField(f"{path}{name}", f"Send either file_id or {name}.")
        return file_id, 0, 1
    has_url = bool(_text(sent, "url", path=path))
    if seconds is None:
        why = "How long a file at a url is, is known when it has come. " if has_url else ""
        raise MissingField(f"{path}duration_seconds", f"{why}Send duration_seconds, or the file_id of a stored file.")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= max_duration_ms / 1000:
        raise InvalidField(
            f"{path}duration_seconds",
            f"duration_seconds must be a number above 0, at most {max_duration_ms // 1000}.",
        )
    # Exact: 0.1 + 0.2 must not become 301 ms.
    duration_ms = math.ceil(Decimal(str(seconds)) * 1000)
    channel_count = sent.get("channel_count")
    if channel_count is not None:
        channel_count = _whole(channel_count, f"{path}channel_count", maximum=MAX_CHANNELS)
    return "", duration_ms, channel_count or 1


def _text(sent: Mapping[str, Any], name: str, *, path: str) -> str:
    value = sent.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidField(f"{path}{name}", f"{name} must be a text.")
    return (value or "").strip()


def _whole(value: Any, name: str, *, maximum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
        raise InvalidField(name, f"{name.rpartition('.')[2]} must be a whole number from 1 to {maximum}.")
    return value
