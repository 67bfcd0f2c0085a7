"""The native wire format: pure translation between its fields and ours. Source: VoxParse's published API."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from accounts.errors import BadMedia, InvalidField, MissingField
from transcription.dialects.native import values
from transcription.speech import language_tags
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.engines import whisper_languages
from transcription.speech.errors import OptionError
from transcription.speech.formats import FORMATS
from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.formats.options import NAMES as OPTION_NAMES
from transcription.speech.options import (
    MAX_HOTWORD_LENGTH,
    MAX_HOTWORDS,
    MAX_PROMPT_LENGTH,
    MAX_SPEAKERS,
    TranscriptionOptions,
)

# A refusal lists no more codes than this.
MAX_LISTED_LANGUAGES = 10

# Field of POST /v1/transcribe -> what we do with it. All others are refused by name.
FIELDS: dict[str, str] = {
    "file": "supported",
    "file_id": "supported",
    "url": "supported",
    "files": "supported: in JSON only, see `batch`",
    "model": "supported",
    "language": "supported",
    "languages": "supported",
    "task": "supported",
    "prompt": "accepted: used by engines that take a prompt; the result's notes say when it was not",
    "hotwords": "accepted: as the prompt",
    "word_timestamps": "supported",
    "channels": "supported",
    "mixed_languages": "supported",
    "accept_truncated": "supported",
    "diarize": "supported",
    "num_speakers": "supported",
    "min_speakers": "supported",
    "max_speakers": "supported",
    "metadata": "supported",
    "retention": "supported",
    "webhook_url": "supported",
    "webhook_auth_header_name": "supported",
    "webhook_auth_header_value": "supported",
}

# Field of POST /v1/upload -> the same.
UPLOAD_FIELDS: dict[str, str] = {"file": "supported", "url": "supported", "accept_truncated": "supported"}


def read_fields(lists: Iterable[tuple[str, list[Any]]]) -> dict[str, str]:
    """Return the text fields of a form by name. Of one sent several times the last counts; lists add up.

    Raises InvalidField for one that was sent as a file: to overlook a `retention` would keep what is to be deleted.
    """
    fields = {}
    for name, sent in lists:
        texts = [value for value in sent if isinstance(value, str)]
        if texts:
            fields[name] = ",".join(texts) if name in ("hotwords", "languages") else texts[-1]
        if name == "files":
            raise InvalidField(name, "files is for JSON bodies. A form has one file.")
        if not texts and sent and name != "file":
            raise InvalidField(name, f"{name} must be sent as a text and not as a file.")
    return fields


def read_options(
    fields: Mapping[str, str], *, offers: Mapping[str, ModelCapabilities]
) -> tuple[str, TranscriptionOptions]:
    """Return (model, options) from form fields; an empty value is as good as none.

    offers: what each model does. Raises InvalidField naming the field and what it may be.
    """
    model = fields.get("model", "") or "standard"
    if model not in offers:
        raise InvalidField("model", f"There is no model '{values.short(model)}'. Models: {', '.join(sorted(offers))}.")
    known = offers[model].languages
    language = fields.get("language", "").strip()
    code = None if language.lower() in ("", *language_tags.DETECT) else read_language("language", language, known=known)
    tags = [part for part in re.split(r"[,\s]+", fields.get("languages", "")) if part]
    candidates = tuple(dict.fromkeys(read_language("languages", tag, known=known) for tag in tags))
    task = values.choice(fields, "task", ("transcribe", "translate"))
    if task == "translate" and not offers[model].translates:
        able = sorted(name for name, offer in offers.items() if offer.translates)
        instead = f" Models that can: {', '.join(able)}." if able else ""
        raise InvalidField("task", f"The model '{model}' cannot translate.{instead}")
    prompt = values.text(fields, "prompt")
    if len(prompt) > MAX_PROMPT_LENGTH:
        raise InvalidField("prompt", f"The prompt has {len(prompt)} characters; the maximum is {MAX_PROMPT_LENGTH}.")
    try:
        options = TranscriptionOptions(
            language=code,
            prompt=prompt,
            hotwords=_hotwords(fields),
            task="translate" if task == "translate" else "transcribe",
            diarize=values.flag(fields, "diarize", default=True),
            num_speakers=_speaker_count(fields, "num_speakers"),
            min_speakers=_speaker_count(fields, "min_speakers"),
            max_speakers=_speaker_count(fields, "max_speakers"),
            word_timestamps=values.flag(fields, "word_timestamps", default=True),
            channels="split" if values.choice(fields, "channels", ("mix", "split")) == "split" else "mix",
            mixed_languages=values.flag(fields, "mixed_languages", default=False),
            languages=candidates,
            accept_truncated=values.flag(fields, "accept_truncated", default=False),
        )
        options.refuse_contradictions()
    except OptionError as error:
        raise InvalidField(str(error.data["param"]), error.message) from error
    return model, options


def with_advice(error: BadMedia) -> BadMedia:
    """Return the refusal of a recording. If a field of the request would let it in, the message names the field."""
    if error.type != "truncated_audio":
        return error
    return BadMedia(
        f"{error.message} Send accept_truncated=true to transcribe what is there.",
        error_type=error.type,
        param="file",
    )


def read_accept_truncated(fields: Mapping[str, str]) -> bool:
    """Return whether a file that is cut off is accepted."""
    return values.flag(fields, "accept_truncated", default=False)


def read_source(fields: Mapping[str, str], *, has_file: bool) -> tuple[str, str]:
    """Return (id of a file that was sent before, URL), both "" if this request has the file itself.

    Raises MissingField for none of the three, and InvalidField for several.
    """
    file_id, url = fields.get("file_id", "").strip(), fields.get("url", "").strip()
    named = [name for name, is_there in (("file", has_file), ("file_id", file_id), ("url", url)) if is_there]
    if not named:
        raise MissingField(
            "file",
            "Send the recording as 'file' of a multipart form, or the 'file_id' of a file that you uploaded, or its "
            "'url'.",
        )
    if len(named) > 1:
        raise InvalidField(named[-1], f"Send either {' or '.join(named)}.")
    return file_id, url


def read_url(fields: Mapping[str, str], *, has_file: bool) -> str:
    """Return the URL of a file, "" for none. Raises InvalidField if the file is there too."""
    return read_source(fields, has_file=has_file)[1] if fields.get("url", "").strip() else ""


def read_format(query: Mapping[str, str]) -> tuple[str, FormatOptions]:
    """Return (name of the format, its options) from the query of a result; an empty value is as good as none."""
    name = query.get("format", "") or "json"
    if name not in FORMATS:
        raise InvalidField("format", f"There is no such format. Formats: {', '.join(FORMATS)}.")
    for option in OPTION_NAMES:
        if query.get(option, "").strip() and option not in FORMATS[name].options:
            takers = ", ".join(one for one, shape in FORMATS.items() if option in shape.options)
            raise InvalidField(option, f"{option} is not an option of {name}. Formats that have it: {takers}.")
    try:
        options = FormatOptions(
            max_chars_per_line=values.whole(query, "max_chars_per_line", default=DEFAULT.max_chars_per_line, minimum=1),
            max_lines=values.whole(query, "max_lines", default=DEFAULT.max_lines, minimum=1),
            min_seconds=values.decimal(query, "min_seconds", default=DEFAULT.min_seconds),
            max_seconds=values.decimal(query, "max_seconds", default=DEFAULT.max_seconds),
            speaker_labels=values.flag(query, "speaker_labels", default=DEFAULT.speaker_labels),
            timestamps=values.flag(query, "timestamps", default=False) if query.get("timestamps", "").strip() else None,
        )
    except OptionError as error:
        raise InvalidField(str(error.data["param"]), error.message) from error
    return name, options


def read_language(field: str, tag: str, *, known: frozenset[str]) -> str:
    """Return the code of a language tag. Raises InvalidField, naming the code that was probably meant."""
    code = language_tags.code_of(tag, known=known)
    if code is not None:
        return code
    meant = language_tags.suggestion(tag, known=known, names=whisper_languages.LANGUAGES)
    if meant is not None:
        raise InvalidField(field, f"Write the language '{values.short(tag)}' as its code '{meant}'.")
    codes = ", ".join(sorted(known))
    if len(known) > MAX_LISTED_LANGUAGES:
        codes = f"{len(known)}, such as {', '.join(sorted(known & {'en', 'es', 'de', 'zh'}))}; see GET /v1/languages"
    raise InvalidField(field, f"The language '{values.short(tag)}' is not supported. Languages: {codes}.")


def _hotwords(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the terms between commas or line breaks, each once."""
    parts = (part.strip() for part in re.split(r"[,\r\n]", values.text(fields, "hotwords")))
    terms = tuple(dict.fromkeys(part for part in parts if part))
    if len(terms) > MAX_HOTWORDS or any(len(term) > MAX_HOTWORD_LENGTH for term in terms):
        raise InvalidField(
            "hotwords", f"hotwords may be {MAX_HOTWORDS} terms of {MAX_HOTWORD_LENGTH} characters at most."
        )
    return terms


def _speaker_count(fields: Mapping[str, str], name: str) -> int | None:
    if not fields.get(name, "").strip():
        return None
    count = values.whole(fields, name, default=0, minimum=1)
    if count > MAX_SPEAKERS:
        raise InvalidField(name, f"{name} must be at most {MAX_SPEAKERS}.")
    return count
