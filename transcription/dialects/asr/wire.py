"""Translation between whisper-asr-webservice's words and ours. Pure.

Source: ahmetoner/whisper-asr-webservice, app/webservice.py and app/utils.py; the calls of Bazarr, Speakr and subgen;
read 2026-11-29. README.md beside this file has the fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from accounts.errors import InvalidField, VoxsiteError
from transcription.speech import language_tags
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.engines import whisper_languages
from transcription.speech.errors import OptionError
from transcription.speech.formats import FORMATS
from transcription.speech.formats.options import FormatOptions
from transcription.speech.options import MAX_SPEAKERS, TranscriptionOptions
from transcription.speech.transcript import Segment, Transcript

DEFAULT_MODEL = "standard"
OUTPUTS = ("txt", "json", "srt", "vtt", "tsv")
# What encode=false promises: signed samples of 16 bits, one channel.
PCM_SAMPLE_RATE = 16_000
MAX_PROMPT_LENGTH = 4000
MAX_HOTWORDS = 100
MAX_HOTWORD_LENGTH = 100
# The names of Whisper's tokenizer, where ours are others. Programs look a language up by them.
_WHISPER_NAMES = {"nn": "nynorsk", "my": "myanmar"}
# The code for a language that was not detected (ISO 639-2). Bazarr reads it so.
UNDETERMINED = "und"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. is_pcm: the recording has no header. name: what lists call it, "" for the name of the part."""

    model: str
    options: TranscriptionOptions
    output: str = "txt"
    is_pcm: bool = False
    name: str = ""


def model_of(fields: Mapping[str, str]) -> str:
    """Return the name of the model that is asked for."""
    return _text(fields, "model") or DEFAULT_MODEL


def read(fields: Mapping[str, str], *, offer: ModelCapabilities) -> Asked:
    """Return what the query and the form of `/asr` ask for; an empty value is as good as none.

    offer: what the model of `model_of` does. Unknown fields are ignored, as by the original. Raises InvalidField.
    """
    task = _choice(fields, "task", ("transcribe", "translate"))
    if task == "translate" and not offer.translates:
        raise InvalidField("task", f"The model '{model_of(fields)}' cannot translate. GET /v1/models says which can.")
    diarizes = _flag(fields, "diarize") or _flag(fields, "enable_diarization")
    prompt = _text(fields, "initial_prompt")
    if len(prompt) > MAX_PROMPT_LENGTH:
        raise InvalidField("initial_prompt", f"initial_prompt may have {MAX_PROMPT_LENGTH} characters at most.")
    try:
        options = TranscriptionOptions(
            language=_language(fields, known=offer.languages),
            prompt=prompt,
            hotwords=_hotwords(fields),
            task="translate" if task == "translate" else "transcribe",
            diarize=diarizes,
            # Speakr sends them with diarize=false too, where they mean nothing.
            min_speakers=_count(fields, "min_speakers") if diarizes else None,
            max_speakers=_count(fields, "max_speakers") if diarizes else None,
            word_timestamps=_flag(fields, "word_timestamps"),
        )
    except OptionError as error:
        raise InvalidField(str(error.data["param"]), error.message) from error
    return Asked(
        model=model_of(fields),
        options=options,
        output=_choice(fields, "output", OUTPUTS),
        is_pcm=not _flag(fields, "encode", default=True),
        name=_text(fields, "video_file"),
    )


def read_detection(fields: Mapping[str, str]) -> Asked:
    """Return what the query and the form of `/detect-language` ask for. Raises InvalidField."""
    return Asked(
        model=model_of(fields),
        options=TranscriptionOptions(diarize=False, only_language=True),
        is_pcm=not _flag(fields, "encode", default=True),
        name=_text(fields, "video_file"),
    )


def show_result(transcript: Transcript, *, asked: Asked) -> dict[str, Any]:
    """Return the answer with output=json."""
    return {
        "text": transcript.text,
        "language": transcript.language or asked.options.language,
        "segments": [_segment(number, segment, asked=asked) for number, segment in enumerate(transcript.segments)],
    }


def render(transcript: Transcript, *, asked: Asked) -> bytes:
    """Return the answer with any other output. It names speakers if they were asked for."""
    shape = FORMATS[asked.output]
    labels = FormatOptions(speaker_labels=asked.options.diarize)
    return shape.render(transcript, options=labels if "speaker_labels" in shape.options else FormatOptions())


def headers(transcript: Transcript, *, asked: Asked, name: str) -> dict[str, str]:
    """Return the headers that the original sends with a transcript."""
    return {
        "Asr-Engine": transcript.engine,
        "Content-Disposition": f'attachment; filename="{quote(name)}.{asked.output}"',
    }


def show_language(transcript: Transcript) -> dict[str, Any]:
    """Return the answer of `/detect-language`. confidence: 0 without speech, and 1 of an engine of one language."""
    code = transcript.language
    if code is None:
        return {"detected_language": "undetermined", "language_code": UNDETERMINED, "confidence": 0.0}
    probability = transcript.language_probability
    return {
        "detected_language": language_name(code),
        "language_code": code,
        "confidence": 1.0 if probability is None else probability,
    }


def language_name(code: str) -> str:
    """Return the name that Whisper's tokenizer has for a language."""
    return _WHISPER_NAMES.get(code) or whisper_languages.LANGUAGES.get(code, code).lower()


def show_error(error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
    """Return the body of an error. `detail` is FastAPI's, with which the original is made; the others are ours."""
    return {"detail": error.message, "type": str(error.type), "request_id": request_id, **error.data}


def _segment(number: int, segment: Segment, *, asked: Asked) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": number,
        "start": segment.start_ms / 1000,
        "end": segment.end_ms / 1000,
        "text": segment.text,
    }
    if segment.speaker is not None:
        shown["speaker"] = _speaker(segment.speaker)
    if asked.options.word_timestamps:
        shown["words"] = [
            {
                "word": word.text,
                "start": word.start_ms / 1000,
                "end": word.end_ms / 1000,
                "probability": round(word.probability, 4),
                **({} if word.speaker is None else {"speaker": _speaker(word.speaker)}),
            }
            for word in segment.words
        ]
    return shown


def _speaker(speaker: str) -> str:
    """Return the label of WhisperX: SPEAKER_00 for S1."""
    return f"SPEAKER_{int(speaker[1:]) - 1:02}" if re.fullmatch(r"S[0-9]+", speaker) else speaker


def _language(fields: Mapping[str, str], *, known: frozenset[str]) -> str | None:
    """Return our code of a code, tag or English name, None to detect the language."""
    tag = _text(fields, "language")
    if tag.lower() in ("", "none", *language_tags.DETECT):
        return None
    names = {language_name(code): code for code in known}
    code = language_tags.code_of(tag, known=known) or names.get(tag.lower())
    if code is None:
        shown = ", ".join(sorted(known)) if len(known) <= 10 else f"{len(known)}, see GET /v1/languages"
        raise InvalidField("language", f"The language '{_short(tag)}' is not supported. Languages: {shown}.")
    return code


def _hotwords(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the terms between commas or line breaks, each once."""
    parts = (part.strip() for part in re.split(r"[,\r\n]", _text(fields, "hotwords")))
    terms = tuple(dict.fromkeys(part for part in parts if part))
    if len(terms) > MAX_HOTWORDS or any(len(term) > MAX_HOTWORD_LENGTH for term in terms):
        raise InvalidField(
            "hotwords", f"hotwords may be {MAX_HOTWORDS} terms of {MAX_HOTWORD_LENGTH} characters at most."
        )
    return terms


def _choice(fields: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = _text(fields, name).lower() or choices[0]
    if value not in choices:
        raise InvalidField(name, f"{name} must be {' or '.join(choices)}.")
    return value


def _flag(fields: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return a boolean in the words that FastAPI takes."""
    value = _text(fields, name).lower()
    if not value:
        return default
    if value not in {"true", "1", "yes", "on", "t", "y", "false", "0", "no", "off", "f", "n"}:
        raise InvalidField(name, f"{name} must be true or false.")
    return value in {"true", "1", "yes", "on", "t", "y"}


def _count(fields: Mapping[str, str], name: str) -> int | None:
    """Return a number of speakers, None for none or 0."""
    value = _text(fields, name)
    # isdecimal() alone takes digits of every script, and int() a thousand of them.
    if value and not (value.isascii() and value.isdecimal() and len(value) <= 9 and int(value) <= MAX_SPEAKERS):
        raise InvalidField(name, f"{name} must be a whole number from 1 to {MAX_SPEAKERS}.")
    return int(value or 0) or None


def _text(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "").strip()
    if "\x00" in value:
        # PostgreSQL cannot keep it.
        raise InvalidField(name, f"{name} has a NUL character in it.")
    return value


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:40]}…"
