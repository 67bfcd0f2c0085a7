"""Reads the query of `/v1/listen`: Deepgram's parameters, ours, and a warning for each that has no effect. Pure.

Source: Deepgram API reference, "Transcribe and analyze pre-recorded audio", and deepgram-sdk 7.17.0, read 2026-11-29.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accounts.errors import BadRequest, InvalidField
from transcription.speech import language_tags
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.options import TranscriptionOptions

DEFAULT_MODEL = "standard"
# What Deepgram takes for several languages in one recording.
MULTI = "multi"
MAX_TERMS = 100
MAX_TERM_LENGTH = 100
MAX_ECHOED = 16
MAX_ECHOED_LENGTH = 200
DEFAULT_UTTERANCE_PAUSE_SECONDS = 0.8
SAMPLE_RATES = range(1_000, 768_001)
MAX_CHANNELS = 8
PCM = "linear16"

# Parameters that do what Deepgram says, or nearly: README.md beside this file has the differences.
SUPPORTED = frozenset({
    "model", "language", "detect_language", "language_hint", "punctuate", "smart_format", "paragraphs", "diarize",
    "diarize_model", "utterances", "utt_split", "multichannel", "keyterm", "keywords", "encoding", "sample_rate",
    "channels", "tag", "extra",
})  # fmt: skip
# Parameters of Deepgram that have no effect here. They are named in the warnings of the answer unless they are off.
WITHOUT_EFFECT = frozenset({
    "numerals", "filler_words", "profanity_filter", "dictation", "measurements", "replace", "search", "summarize",
    "topics", "custom_topic", "custom_topic_mode", "intents", "custom_intent", "custom_intent_mode", "sentiment",
    "detect_entities", "version", "tier", "alternatives", "endpointing", "interim_results", "vad_events",
    "utterance_end_ms", "no_delay", "callback_method",
})  # fmt: skip
# No recording trains a model here, so there is nothing to opt out of.
SILENTLY_ACCEPTED = frozenset({"mip_opt_out"})
# Who sends these relies on what we would not do: {parameter: why it is refused}.
REFUSED = {
    "redact": "Nothing is redacted here, so a transcript would hold what must not be in it.",
    "callback": "The answer comes with this request. For webhooks see /docs/.",
}


@dataclass(frozen=True, slots=True)
class Listen:
    """One request. utterance_pause_ms: silence that separates utterances. sample_rate, channels: of headerless PCM,
    None where the body has a container. warnings: [{parameter, type, message}].
    """

    model: str
    options: TranscriptionOptions
    is_punctuated: bool = False
    with_paragraphs: bool = False
    with_utterances: bool = False
    with_detected_language: bool = False
    utterance_pause_ms: int = 800
    sample_rate: int | None = None
    channels: int = 1
    tags: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    warnings: tuple[dict[str, str], ...] = ()

    @property
    def is_multichannel(self) -> bool:
        return self.options.channels == "split"


Query = Mapping[str, Sequence[str]]


def model_of(query: Query) -> str:
    """Return the name of the model that is asked for."""
    return _value(query, "model") or DEFAULT_MODEL


def read(query: Query, *, offer: ModelCapabilities) -> Listen:
    """Return what the query asks for; an empty value is as good as none.

    query: every value of each parameter. offer: what the model of `model_of` does. Raises InvalidField and BadRequest.
    """
    for name, why in REFUSED.items():
        if _is_on(query, name):
            raise BadRequest(f"{name} is not supported. {why}", param=name)
    is_smart = _flag(query, "smart_format")
    with_paragraphs = _flag(query, "paragraphs") or is_smart
    is_multichannel = _flag(query, "multichannel")
    diarizes = _flag(query, "diarize") or _is_on(query, "diarize_model")
    language, is_mixed, candidates, with_detected = _languages(query, known=offer.languages)
    sample_rate, channels = _pcm(query)
    return Listen(
        model=model_of(query),
        options=TranscriptionOptions(
            language=language,
            languages=candidates,
            mixed_languages=is_mixed,
            hotwords=_terms(query),
            diarize=diarizes and not is_multichannel,
            channels="split" if is_multichannel else "mix",
        ),
        is_punctuated=_flag(query, "punctuate") or with_paragraphs,
        with_paragraphs=with_paragraphs,
        with_utterances=_flag(query, "utterances"),
        with_detected_language=with_detected,
        utterance_pause_ms=round(1000 * _seconds(query, "utt_split", default=DEFAULT_UTTERANCE_PAUSE_SECONDS)),
        sample_rate=sample_rate,
        channels=channels,
        tags=tuple(_echoed(query, "tag")),
        extra=tuple(_pair(text) for text in _echoed(query, "extra")),
        warnings=tuple(_warnings(query, diarizes=diarizes, is_multichannel=is_multichannel)),
    )


def _languages(query: Query, *, known: frozenset[str]) -> tuple[str | None, bool, tuple[str, ...], bool]:
    """Return (language or None to detect it, whether it may change, candidates, whether the answer names it)."""
    asked = [value for value in query.get("detect_language", ()) if value.strip()]
    is_off = all(value.strip().lower() in ("false", "0") for value in asked)
    named = [value for value in asked if value.strip().lower() not in ("true", "1", "false", "0")]
    hints = [value for value in query.get("language_hint", ()) if value.strip()]
    tag = _value(query, "language")
    detects = bool(asked) and not is_off
    candidates = tuple(dict.fromkeys(_code(one, "detect_language", known=known) for one in named))
    if detects or tag.lower() in ("", *language_tags.DETECT):
        return None, False, candidates, detects
    if tag.lower() == MULTI:
        return None, True, tuple(dict.fromkeys(_code(one, "language_hint", known=known) for one in hints)), True
    return _code(tag, "language", known=known), False, (), False


def _code(tag: str, name: str, *, known: frozenset[str]) -> str:
    code = language_tags.code_of(tag, known=known)
    if code is None:
        shown = ", ".join(sorted(known)) if len(known) <= 10 else f"{len(known)}; see GET /v1/languages"
        raise InvalidField(name, f"The language '{_short(tag)}' is not supported by this model. Languages: {shown}.")
    return code


def _terms(query: Query) -> tuple[str, ...]:
    """Return the key terms. A keyword may have a boost behind a colon, which has no effect."""
    terms = [*_texts(query, "keyterm"), *(re.sub(r":-?[0-9.]+$", "", one) for one in _texts(query, "keywords"))]
    found = tuple(dict.fromkeys(term.strip() for term in terms if term.strip()))
    if len(found) > MAX_TERMS or any(len(term) > MAX_TERM_LENGTH for term in found):
        raise InvalidField(
            "keyterm", f"There may be {MAX_TERMS} key terms of {MAX_TERM_LENGTH} characters each at most."
        )
    return found


def _pcm(query: Query) -> tuple[int | None, int]:
    """Return (sample rate of headerless PCM or None, its channels)."""
    if _value(query, "encoding").lower() != PCM:
        return None, 1
    rate = _whole(query, "sample_rate", allowed=SAMPLE_RATES)
    if rate is None:
        raise InvalidField("sample_rate", f"sample_rate is required with encoding={PCM}, in Hz, for example 8000.")
    return rate, _whole(query, "channels", allowed=range(1, MAX_CHANNELS + 1)) or 1


def _warnings(query: Query, *, diarizes: bool, is_multichannel: bool) -> list[dict[str, str]]:
    found = [
        _warning(name, "unsupported_parameter", f"{name} has no effect.")
        for name in sorted(query)
        if name in WITHOUT_EFFECT and _is_on(query, name)
    ]
    known = SUPPORTED | WITHOUT_EFFECT | SILENTLY_ACCEPTED | set(REFUSED)
    found += [
        _warning(_short(name), "unknown_parameter", f"There is no parameter '{_short(name)}'.")
        for name in sorted(query)
        if name not in known
    ]
    if diarizes and is_multichannel:
        found.append(_warning("diarize", "unsupported_parameter", "With multichannel, each channel is one speaker."))
    encoding = _value(query, "encoding").lower()
    if encoding not in ("", PCM):
        found.append(_warning("encoding", "unsupported_parameter", "The recording is read by its own header."))
    return found


def _warning(parameter: str, kind: str, message: str) -> dict[str, str]:
    return {"parameter": parameter, "type": kind, "message": message}


def metadata_of(listen: Listen) -> dict[str, str]:
    """Return the metadata of the job: `extra` by its names, and `tag` with all labels. As of extra, the last counts."""
    tags = {"tag": ", ".join(listen.tags)} if listen.tags else {}
    return {name: value for name, value in listen.extra if name} | tags


def _echoed(query: Query, name: str) -> list[str]:
    texts = _texts(query, name)
    if len(texts) > MAX_ECHOED or any(len(text) > MAX_ECHOED_LENGTH for text in texts):
        raise InvalidField(name, f"{name} may be sent {MAX_ECHOED} times, with {MAX_ECHOED_LENGTH} characters each.")
    return texts


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name, value


def _texts(query: Query, name: str) -> list[str]:
    """Return the values of a parameter that are not empty. Raises InvalidField."""
    texts = [value.strip() for value in query.get(name, ()) if value.strip()]
    if any("\x00" in text for text in texts):
        raise InvalidField(name, f"{name} has a NUL character in it.")  # PostgreSQL cannot keep it
    return texts


def _value(query: Query, name: str) -> str:
    """Return the last value of a parameter, "" without one."""
    texts = _texts(query, name)
    return texts[-1] if texts else ""


def _is_on(query: Query, name: str) -> bool:
    return any(text.lower() not in ("false", "0") for text in _texts(query, name))


def _flag(query: Query, name: str) -> bool:
    value = _value(query, name).lower()
    if value not in ("", "true", "1", "false", "0"):
        raise InvalidField(name, f"{name} must be true or false.")
    return value in ("true", "1")


def _whole(query: Query, name: str, *, allowed: range) -> int | None:
    value = _value(query, name)
    if not value:
        return None
    # isdecimal() alone takes digits of every script, and int() a thousand of them.
    if not (value.isascii() and value.isdecimal() and len(value) <= 9) or int(value) not in allowed:
        raise InvalidField(name, f"{name} must be a whole number from {allowed[0]} to {allowed[-1]}.")
    return int(value)


def _seconds(query: Query, name: str, *, default: float) -> float:
    value = _value(query, name)
    if not value:
        return default
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", value):
        raise InvalidField(name, f"{name} must be a number of seconds, such as 0.8.")
    return float(value)


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:40]}…"


def plain(query: Any) -> dict[str, list[str]]:
    """Return the query of a request as {name: values}. query: Django's QueryDict."""
    return {name: list(values) for name, values in query.lists()}
