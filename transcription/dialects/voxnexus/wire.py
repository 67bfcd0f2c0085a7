"""Translation between VoxNexus's words and ours. Pure: it reads no rows and opens no files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from accounts.errors import InvalidField, MissingField, UnsupportedMediaType, VoxsiteError
from transcription.dialects.voxnexus import locales
from transcription.speech import language_tags, turns
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Transcript

# Parameters of the query. Others are refused by name.
PARAMETERS = (
    "model_id",
    "language",
    "sample_rate",
    "enable_timestamps",
    "enable_speaker_diarization",
    "enable_llm_transform",
    "llm_prompt",
    "llm_model_id",
    "llm_max_tokens",
    "metadata",
)
MAX_SAMPLE_RATE = 768_000
MAX_PROMPT_LENGTH = 4000
MAX_LLM_TOKENS = 4096
MAX_LISTED = 10
# Besides audio/* and video/*. The last is what curl sends when nobody says what the body is.
CONTENT_TYPES = frozenset({"", "application/octet-stream", "application/ogg", "application/x-www-form-urlencoded"})


@dataclass(frozen=True, slots=True)
class Transform:
    """What a language model shall do with the transcript. model, max_tokens: None for the default."""

    prompt: str
    model: str | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """One call. locale: the language that was named, as a tag, "" to detect it."""

    model: str
    options: TranscriptionOptions
    sample_rate: int
    locale: str = ""
    with_words: bool = False
    with_speakers: bool = False
    transform: Transform | None = None


def require_audio(content_type: str) -> None:
    """Raise UnsupportedMediaType for a body that is no recording by its own word, such as a form or JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES and not kind.startswith(("audio/", "video/")):
        raise UnsupportedMediaType(
            "Send the recording itself as the body, with a Content-Type such as audio/wav or application/octet-stream."
        )


def read_query(query: Mapping[str, str], *, offers: Mapping[str, ModelCapabilities]) -> SpeechRequest:
    """Return what the query asks for; an empty value is as good as none.

    offers: what each model does, by the names that a request may have. Raises MissingField and InvalidField.
    """
    model = _value(query, "model_id")
    if not model:
        raise MissingField("model_id", "The parameter 'model_id' is required, for example 'vn-stt-basic'.")
    if model not in offers:
        raise InvalidField("model_id", f"There is no model '{_short(model)}'. Models: {', '.join(sorted(offers))}.")
    sample_rate = _whole(query, "sample_rate", maximum=MAX_SAMPLE_RATE)
    if sample_rate is None:
        raise MissingField("sample_rate", "The parameter 'sample_rate' is required, in Hz, for example 8000.")
    tag, code = _language(query, known=offers[model].languages)
    with_words, with_speakers = _flag(query, "enable_timestamps"), _flag(query, "enable_speaker_diarization")
    return SpeechRequest(
        model=model,
        options=TranscriptionOptions(language=code, diarize=with_speakers, word_timestamps=with_words),
        sample_rate=sample_rate,
        locale=tag,
        with_words=with_words,
        with_speakers=with_speakers,
        transform=_transform(query),
    )


def show_result(
    transcript: Transcript,
    *,
    request: SpeechRequest,
    request_id: str,
    created_at: datetime,
    rewritten: str | None = None,
    note: str = "",
) -> dict[str, Any]:
    """Return the answer.

    rewritten: what the language model made of the text; None if nothing was asked of it, or it failed. note: what to
    know of that, "" for nothing.
    """
    text = transcript.text
    shown: dict[str, Any] = {
        "request_id": request_id,
        "transcript": text,
        "text": text if rewritten is None else rewritten,
        "duration_ms": transcript.duration_ms,
        "created_at": created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if transcript.language is not None:
        shown["language"] = _shown_language(transcript.language, request=request)
    if request.with_words:
        shown["words"] = [
            {
                "word": word.text,
                "offset": word.start_ms,
                "duration": word.end_ms - word.start_ms,
                "confidence": round(word.probability, 4),
            }
            for word in transcript.words
        ]
    if request.with_speakers:
        shown["speakers"] = show_speakers(transcript)
    warnings = [*transcript.notes, *([note] if note else [])]
    if warnings:
        shown["warnings"] = warnings
    return shown


def show_speakers(transcript: Transcript) -> list[dict[str, Any]]:
    """Return one entry for each turn, in order. A transcript without speaker labels has one speaker."""
    return [
        {
            "speaker_id": _speaker_id(turn[0].speaker),
            "text": turns.text_of(turn),
            "offset": turn[0].start_ms,
            "duration": max(segment.end_ms for segment in turn) - turn[0].start_ms,
        }
        for turn in turns.turns_of(transcript)
    ]


def show_error(error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
    """Return the body of an error. `code` is the type of the error, and its data stands beside it."""
    return {"error": {"code": str(error.type), "message": error.message, **error.data}, "request_id": request_id}


def _shown_language(code: str, *, request: SpeechRequest) -> str:
    """Return the locale that was asked for, if it is of this language, or else the most common one."""
    asked = request.locale
    if "-" in asked and request.options.language == code:
        return asked
    return locales.locale_of(code)


def _speaker_id(speaker: str | None) -> str:
    if speaker is None:
        return "speaker_1"
    return f"speaker_{speaker[1:]}" if re.fullmatch(r"S\d+", speaker) else speaker


def _transform(query: Mapping[str, str]) -> Transform | None:
    prompt, model = _value(query, "llm_prompt"), _value(query, "llm_model_id")
    max_tokens = _whole(query, "llm_max_tokens", maximum=MAX_LLM_TOKENS)
    if not _flag(query, "enable_llm_transform"):
        return None
    if not prompt:
        raise MissingField("llm_prompt", "The parameter 'llm_prompt' is required with enable_llm_transform=true.")
    if len(prompt) > MAX_PROMPT_LENGTH:
        raise InvalidField(
            "llm_prompt", f"llm_prompt has {len(prompt)} characters; the maximum is {MAX_PROMPT_LENGTH}."
        )
    return Transform(prompt, model=model or None, max_tokens=max_tokens)


def _language(query: Mapping[str, str], *, known: frozenset[str]) -> tuple[str, str | None]:
    """Return (tag as it is written, our code), ("", None) to detect the language."""
    tag = _value(query, "language")
    if tag.lower() in ("", *language_tags.DETECT):
        return "", None
    code = language_tags.code_of(tag, known=known)
    if code is None:
        raise InvalidField("language", f"The language '{_short(tag)}' is not supported. {_listed(sorted(known))}")
    return locales.written(tag), code


def _listed(codes: Sequence[str]) -> str:
    if len(codes) > MAX_LISTED:
        return f"There are {len(codes)}, such as en-US, es-ES, de-DE and zh-CN; see GET /v1/languages."
    return f"Languages: {', '.join(locales.locale_of(code) for code in codes)}."


def _value(query: Mapping[str, str], name: str) -> str:
    value = query.get(name, "").strip()
    if "\x00" in value:
        # PostgreSQL cannot keep it.
        raise InvalidField(name, f"{name} has a NUL character in it.")
    return value


def _flag(query: Mapping[str, str], name: str) -> bool:
    value = _value(query, name).lower()
    if value not in {"", "true", "1", "false", "0"}:
        raise InvalidField(name, f"{name} must be true or false.")
    return value in {"true", "1"}


def _whole(query: Mapping[str, str], name: str, *, maximum: int) -> int | None:
    value = _value(query, name)
    if not value:
        return None
    # isdecimal() alone takes digits of every script, and int() a thousand of them.
    if not (value.isascii() and value.isdecimal() and len(value) <= 9) or not 1 <= int(value) <= maximum:
        raise InvalidField(name, f"{name} must be a whole number from 1 to {maximum}.")
    return int(value)


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:40]}…"
