"""Reads the fields of `POST /transcribe`, as a form and as those that a JSON job shares with it. Pure.

Sources: TranscribeAPI's documentation, and its packages: transcribe-api 0.1.2 and 0.1.10 (PyPI) and
@transcribe-api/sdk 0.1.10 (npm); read 2026-11-29. README.md beside this file says what each field does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from accounts.errors import InvalidField
from transcription.dialects.transcribeapi.errors import Refused
from transcription.speech import language_tags
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.errors import OptionError
from transcription.speech.options import MAX_PROMPT_LENGTH, TranscriptionOptions

DEFAULT_MODEL = "whisper-large-v3-turbo"
# Fields of the form. Others are ignored: the packages of different versions differ in what they send.
FIELDS = (
    "file",
    "url",
    "model",
    "language",
    "task",
    "vad_filter",
    "initial_prompt",
    "vtt_granularity",
    "exclude",
    "reference_id",
    "webhook_url",
)
# Of the file alone, inclusive: the packages send larger ones otherwise.
MAX_SYNC_BYTES = 30 * 1024**2
MAX_SYNC_MS = 10 * 60 * 1000
GRANULARITIES = ("sentence", "word")
TASKS = ("transcribe", "translate")
MAX_REFERENCE_LENGTH = 255

# What can be left out of an answer: groups, and each field by itself.
TRANSCRIPT_FIELDS = ("text", "vtt", "segments")
BILLING_FIELDS = ("billed_seconds", "price_per_hour", "cost", "remaining_balance")
METADATA_FIELDS = ("job_id", "status", "job_status", "reference_id", "model", "duration_seconds", "notes")
LANGUAGE_FIELD = "detected_language"
GROUPS: Mapping[str, tuple[str, ...]] = {"billing": BILLING_FIELDS, "metadata": METADATA_FIELDS}
EXCLUDABLE = (*TRANSCRIPT_FIELDS, *GROUPS, LANGUAGE_FIELD, *BILLING_FIELDS, *METADATA_FIELDS)

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What of a transcript the caller wants to see. excluded: names of EXCLUDABLE."""

    excluded: frozenset[str] = frozenset()
    granularity: str = "sentence"
    reference: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, which are stored with the job."""
        return {
            "excluded": sorted(self.excluded),
            "granularity": self.granularity,
            "reference": self.reference,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> View:
        """Rebuild a view. What is missing takes the default: other dialects store none."""
        return cls(
            excluded=frozenset(stored.get("excluded", ())),
            granularity=stored.get("granularity", "sentence"),
            reference=stored.get("reference", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, understood."""

    model: str
    options: TranscriptionOptions
    view: View
    url: str = ""
    webhook_url: str = ""


def read_form(lists: Iterable[tuple[str, list[Any]]]) -> dict[str, str]:
    """Return the text fields of a form by name. The last value of a field counts; those of `exclude` are joined."""
    fields: dict[str, str] = {}
    for name, values in lists:
        texts = [value for value in values if isinstance(value, str)]
        if texts:
            plain = name.removesuffix("[]")
            fields[plain] = ",".join(texts) if plain == "exclude" else texts[-1]
    return fields


def read(fields: Fields, *, capabilities_of: Callable[[str], ModelCapabilities]) -> Asked:
    """Return what is asked for. capabilities_of: raises InvalidField for a model that there is not.

    Raises InvalidField, naming the field and what it may be.
    """
    model = text_of(fields, "model") or DEFAULT_MODEL
    offer = capabilities_of(model)
    task = _choice(fields, "task", TASKS)
    if task == "translate" and not offer.translates:
        raise InvalidField("task", f"The model '{_short(model)}' cannot translate here.")
    # Read to be refused if it is no flag. Stretches without speech are left out in any case.
    _flag(fields, "vad_filter")
    try:
        options = TranscriptionOptions(
            language=language_of(text_of(fields, "language"), known=offer.languages, field="language"),
            # Whisper itself uses the end of a prompt.
            prompt=text_of(fields, "initial_prompt")[-MAX_PROMPT_LENGTH:],
            task="translate" if task == "translate" else "transcribe",
            diarize=False,
        )
    except OptionError as error:
        raise InvalidField(str(error.data["param"]), error.message) from error
    return Asked(
        model=model,
        options=options,
        view=View(
            excluded=read_excluded(fields.get("exclude", "")),
            granularity=_choice(fields, "vtt_granularity", GRANULARITIES),
            reference=reference_of(text_of(fields, "reference_id"), field="reference_id"),
        ),
        url=text_of(fields, "url"),
        webhook_url=text_of(fields, "webhook_url"),
    )


def read_excluded(text: str) -> frozenset[str]:
    """Return the fields that the caller does not want to see. text: names between commas. Raises InvalidField."""
    names = {name.strip().lower() for name in text.split(",") if name.strip()}
    unknown = sorted(names - set(EXCLUDABLE))
    if unknown:
        possible = ", ".join((*TRANSCRIPT_FIELDS, *GROUPS, LANGUAGE_FIELD))
        raise InvalidField("exclude", f"'{_short(unknown[0])}' cannot be excluded. Possible are {possible}.")
    return frozenset(names)


def language_of(tag: str, *, known: frozenset[str], field: str) -> str | None:
    """Return the code that a tag stands for, None to detect the language. Raises InvalidField."""
    if tag.lower() in ("", *language_tags.DETECT):
        return None
    code = language_tags.code_of(tag, known=known)
    if code is None:
        raise InvalidField(
            field,
            f"The language '{_short(tag)}' is not supported by this model. GET /v1/languages lists those that are.",
        )
    return code


def reference_of(text: str, *, field: str) -> str:
    """Return the customer's name of a recording. Raises InvalidField for one that is too long."""
    if len(text) > MAX_REFERENCE_LENGTH:
        raise InvalidField(field, f"{field} may have {MAX_REFERENCE_LENGTH} characters at most.")
    return text


def text_of(fields: Fields, name: str) -> str:
    """Return the text of a field without blanks around it, "" without one. Raises InvalidField."""
    text = fields.get(name, "").strip()
    if "\x00" in text:
        # PostgreSQL cannot keep it.
        raise InvalidField(name, f"{name} has a NUL character in it.")
    return text


def require_sync_length(duration_ms: int) -> None:
    """Raise Refused for a recording that is too long for an answer in the same call."""
    if duration_ms > MAX_SYNC_MS:
        raise Refused(
            "audio_too_long",
            "The recording is longer than 10 minutes. Send it as an async job: POST /v1/jobs.",
            param="file",
            max_duration_seconds=MAX_SYNC_MS // 1000,
            duration_seconds=duration_ms / 1000,
        )


def require_sync_size(size_bytes: int) -> None:
    """Raise Refused for a file that is too large for an answer in the same call."""
    if size_bytes > MAX_SYNC_BYTES:
        raise Refused(
            "file_too_large",
            f"The file is larger than {MAX_SYNC_BYTES // 1024**2} MB. Send it as an async job: POST /v1/jobs.",
            param="file",
            max_bytes=MAX_SYNC_BYTES,
        )


def _choice(fields: Fields, name: str, choices: tuple[str, ...]) -> str:
    value = text_of(fields, name).lower() or choices[0]
    if value not in choices:
        raise InvalidField(name, f"{name} must be {' or '.join(choices)}.")
    return value


def _flag(fields: Fields, name: str) -> bool:
    value = text_of(fields, name).lower()
    if value not in {"", "true", "1", "false", "0"}:
        raise InvalidField(name, f"{name} must be true or false.")
    return value in {"true", "1"}


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"
