"""Between the fields of OpenAI's audio API and ours: a request becomes `Asked`, an error OpenAI's object.

README.md beside this file says what each field does, and where that comes from. Answers are in `answers`.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from accounts.errors import BadRequest, InvalidField, MissingField, VoxsiteError
from transcription.speech import language_tags
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.engines import whisper_languages
from transcription.speech.errors import OptionError
from transcription.speech.options import TranscriptionOptions

FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
GRANULARITIES = ("segment", "word")
MAX_FILE_BYTES = 25 * 1024 * 1024
# Whisper itself uses the end of a prompt, and OpenAI cuts longer ones too.
MAX_PROMPT_LENGTH = 4000
MAX_KEYWORDS = 100
MAX_KEYWORD_LENGTH = 100
# Names of the fields that are lists, in every spelling that clients have for them.
LISTS = (
    "keywords",
    "languages",
    "include",
    "timestamp_granularities",
    "known_speaker_names",
    "known_speaker_references",
)
# Groq's name and Mistral's. Together's package sends the address as a text called like the file.
URLS = ("url", "file_url", "file")

Fields = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, understood.

    granularities: "segment" and "word", as far as verbose_json is to have them. has_cost: the answer states the cost.
    """

    model: str
    options: TranscriptionOptions
    format: str
    granularities: frozenset[str]
    has_logprobs: bool
    is_stream: bool
    has_cost: bool = False


def read_form(lists: Iterable[tuple[str, list[Any]]]) -> dict[str, list[str]]:
    """Return the text fields of a form by name, each a list of its values.

    `name[]`, `name` repeated and a JSON array mean the same, for the fields that are lists.
    """
    fields: dict[str, list[str]] = {}
    for name, values in lists:
        plain = name.removesuffix("[]")
        texts = [value for value in values if isinstance(value, str)]
        if plain in LISTS:
            texts = [each for text in texts for each in _array(text)]
        if texts:
            fields.setdefault(plain, []).extend(texts)
    return _of_text(fields)


def read_json(body: Any) -> dict[str, list[str]]:
    """Return the fields of a JSON body in the form of `read_form`, without `input_audio`. Raises BadRequest."""
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    fields: dict[str, list[str]] = {}
    for name, value in body.items():
        if value is None or name == "input_audio":
            continue
        values = value if isinstance(value, list) else [value]
        fields[name.removesuffix("[]")] = [_text_of(each) for each in values]
    return _of_text(fields)


def read_input_audio(body: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return (content, file name) of the recording in a JSON body. Raises MissingField and InvalidField."""
    audio = body.get("input_audio")
    if audio is None:
        raise MissingField("input_audio", "Send the recording as 'file' of a form, or as 'input_audio' of a JSON body.")
    data = audio.get("data") if isinstance(audio, dict) else None
    if not isinstance(data, str):
        raise InvalidField("input_audio", "input_audio must be an object with 'data', the recording in base64.")
    kind = audio.get("format")
    suffix = kind if isinstance(kind, str) and re.fullmatch(r"[A-Za-z0-9]{1,10}", kind) else "bin"
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        return base64.b64decode(data, validate=True), f"audio.{suffix}"
    except (binascii.Error, ValueError) as error:
        raise InvalidField("input_audio", "input_audio.data is no valid base64.") from error


def read_asked(
    fields: Fields, *, capabilities_of: Callable[[str], ModelCapabilities], is_translation: bool = False
) -> Asked:
    """Return what is asked for. capabilities_of: raises an InvalidField for a model that there is not.

    Raises MissingField and InvalidField, naming the field and what it may be. Fields that it does not know are ignored.
    """
    # As OpenRouter, Together and others name the models of OpenAI.
    model = _last(fields, "model").removeprefix("openai/")
    if not model:
        raise MissingField("model")
    offer = capabilities_of(model)
    if is_translation and not offer.translates:
        raise InvalidField("model", f"The model '{model[:64]}' cannot translate here.")
    for name in ("known_speaker_names", "known_speaker_references"):
        if fields.get(name):
            raise InvalidField(name, f"{name} is not supported yet: speakers are labelled A, B and so on.")
    _number(fields, "temperature")
    response_format = _choice(fields, "response_format", FORMATS)
    wants_speakers = _flag(fields, "diarize") or response_format == "diarized_json"
    try:
        options = TranscriptionOptions(
            # The language of a translation is the one of its text, which is English.
            language=None if is_translation else _language(fields, known=offer.languages),
            languages=_languages(fields, known=offer.languages),
            prompt=_plain(fields, "prompt")[-MAX_PROMPT_LENGTH:],
            hotwords=_keywords(fields),
            task="translate" if is_translation else "transcribe",
            diarize=wants_speakers,
        )
        options.refuse_contradictions()
    except OptionError as error:
        raise InvalidField(str(error.data["param"]), error.message) from error
    granularities = _subset(fields, "timestamp_granularities", GRANULARITIES) or frozenset({"segment"})
    return Asked(
        model=model,
        options=options,
        format=response_format,
        granularities=granularities,
        has_logprobs="logprobs" in _subset(fields, "include", ("logprobs",)),
        is_stream=_flag(fields, "stream"),
    )


def read_url(fields: Fields) -> str:
    """Return the address of the recording that some clients send in place of a file, "" for none."""
    return next((found for found in (_last(fields, name) for name in URLS) if found), "")


def show_error(error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
    """Return the JSON of an error: OpenAI's object, whose `code` is our type as OpenAI's codes are words.

    Source: OpenAI API reference, "Error codes", read 2026-11-29.
    """
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": None,
            "code": error.type,
            "request_id": request_id,
            **error.data,
        }
    }


def _of_text(fields: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the fields. Raises InvalidField for a lone surrogate, which is JSON and no text: no database takes it."""
    for name, values in fields.items():
        try:
            "".join((name, *values)).encode()
        except UnicodeEncodeError as error:
            shown = name.encode(errors="replace").decode()[:64]
            raise InvalidField(shown, f"{shown} has half a character in it, such as \\ud800.") from error
    return fields


def _array(text: str) -> list[str]:
    """Return the values of one field: of a JSON array each, of any other text itself; blank ones are none."""
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list):
            return [_text_of(each) for each in found]
    return [text] if text.strip() else []


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)


def _last(fields: Fields, name: str) -> str:
    values = fields.get(name) or [""]
    return values[-1].strip()


def _plain(fields: Fields, name: str) -> str:
    text = _last(fields, name)
    if "\x00" in text:
        # PostgreSQL cannot keep it (and no recording is about it).
        raise InvalidField(name, f"{name} has a NUL character in it.")
    return text


def _choice(fields: Fields, name: str, choices: tuple[str, ...]) -> str:
    value = _last(fields, name) or choices[0]
    if value not in choices:
        raise InvalidField(name, f"{name} must be one of {', '.join(choices)}.")
    return value


def _subset(fields: Fields, name: str, choices: tuple[str, ...]) -> frozenset[str]:
    values = frozenset(value.strip() for value in fields.get(name, []))
    if not values <= set(choices):
        raise InvalidField(name, f"{name} may have {' and '.join(choices)}.")
    return values


def _flag(fields: Fields, name: str) -> bool:
    value = _last(fields, name).lower()
    if value not in {"", "true", "1", "false", "0"}:
        raise InvalidField(name, f"{name} must be true or false.")
    return value in {"true", "1"}


def _number(fields: Fields, name: str) -> None:
    value = _last(fields, name)
    if value and not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{0,20})?(e-?[0-9]{1,2})?", value):
        raise InvalidField(name, f"{name} must be a number from 0 to 1.")


def _language(fields: Fields, *, known: frozenset[str]) -> str | None:
    tag = _last(fields, "language")
    return None if tag.lower() in ("", *language_tags.DETECT) else _code("language", tag, known=known)


def _languages(fields: Fields, *, known: frozenset[str]) -> tuple[str, ...]:
    tags = [tag.strip() for tag in fields.get("languages", [])]
    return tuple(dict.fromkeys(_code("languages", tag, known=known) for tag in tags if tag))


def _code(field: str, tag: str, *, known: frozenset[str]) -> str:
    code = language_tags.code_of(tag, known=known) or language_tags.suggestion(
        tag, known=known, names=whisper_languages.LANGUAGES
    )
    if code is None:
        shown = tag if len(tag) <= 40 else f"{tag[:40]}…"
        raise InvalidField(field, f"The language '{shown}' is not supported. GET /v1/languages lists those that are.")
    return code


def _keywords(fields: Fields) -> tuple[str, ...]:
    terms = tuple(dict.fromkeys(term.strip() for term in fields.get("keywords", []) if term.strip()))
    if len(terms) > MAX_KEYWORDS or any(len(term) > MAX_KEYWORD_LENGTH or "\x00" in term for term in terms):
        raise InvalidField(
            "keywords", f"keywords may be {MAX_KEYWORDS} terms of {MAX_KEYWORD_LENGTH} characters at most."
        )
    return terms
