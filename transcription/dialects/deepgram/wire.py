"""Shows a transcript, and errors, in Deepgram's shape. Pure.

Source: Deepgram API reference, the answer of `/v1/listen` for recordings; docs "Utterances", "Paragraphs",
"Multichannel" and "Errors"; the types of deepgram-sdk 7.17.0; read 2026-11-29.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from accounts.error_types import URL_TYPES
from accounts.errors import BadRequest, MissingField, VoxsiteError
from transcription.dialects.deepgram.query import Listen
from transcription.speech import scripts
from transcription.speech.transcript import Segment, Transcript, Word, join_words

# A paragraph ends with this many sentences, at a pause of this length after a sentence, or with its speaker.
MAX_SENTENCES = 5
PARAGRAPH_PAUSE_MS = 2_000

# HTTP status -> Deepgram's code. Only the first five statuses have one in its documentation.
ERROR_CODES = {
    400: "Bad Request",
    401: "INVALID_AUTH",
    402: "ASR_PAYMENT_REQUIRED",
    403: "INSUFFICIENT_PERMISSIONS",
    429: "TOO_MANY_REQUESTS",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "SLOW_UPLOAD",
    409: "CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    501: "NOT_IMPLEMENTED",
    502: "BAD_GATEWAY",
    503: "SERVICE_UNAVAILABLE",
    504: "GATEWAY_TIMEOUT",
}
INTERNAL = "INTERNAL_SERVER_ERROR"
# Whatever keeps the file at a url from being had (community.deepgram.com, "Troubleshooting 401 Unauthorized Error";
# deepgram-js-sdk, issue 263; read 2026-11-29).
REMOTE_CONTENT = "REMOTE_CONTENT_ERROR"


def show_error(error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
    """Return the body of an error. `type` is ours: the stable slug of the fault; its data stands beside it."""
    is_remote = error.type in URL_TYPES
    return {
        "err_code": REMOTE_CONTENT if is_remote else ERROR_CODES.get(error.http_status, INTERNAL),
        "err_msg": error.message,
        "request_id": request_id,
        "type": str(error.type),
        **error.data,
    }


def show_project(project_id: str, *, name: str) -> dict[str, Any]:
    """Return a project as `GET /v1/projects` lists it (deepgram-sdk 7.17.0, `ListProjectsV1ResponseProjectsItem`)."""
    return {"project_id": project_id, "name": name}


def show_balance(balance_id: str, *, available_micros: int) -> dict[str, Any]:
    """Return a balance in dollars (deepgram-sdk 7.17.0, `ListProjectBalancesV1ResponseBalancesItem`).

    There is one, which has the id of its project. available_micros: what can be spent now, in micro-dollars.
    """
    return {"balance_id": balance_id, "amount": available_micros / 1_000_000, "units": "usd", "purchase_order_id": ""}


def read_url(document: Any) -> str:
    """Return the address of a JSON body. Raises BadRequest and MissingField."""
    if not isinstance(document, dict):
        raise BadRequest("Content-type was application/json, but the body is no JSON object with a 'url'.")
    url = document.get("url")
    if not isinstance(url, str) or not url:
        raise MissingField("url", 'Send the recording as the body, or its address as JSON {"url": "..."}.')
    return url


def show_answer(
    transcript: Transcript,
    *,
    asked: Listen,
    request_id: str,
    job_id: uuid.UUID,
    sha256: str,
    created_at: datetime,
    channel_count: int,
) -> dict[str, Any]:
    """Return the whole answer.

    channel_count: of the recording; without multichannel all are mixed into one.
    """
    segments = _by_channel(transcript, channel_count) if asked.is_multichannel else [list(transcript.segments)]
    results: dict[str, Any] = {"channels": [_channel(own, transcript, asked=asked) for own in segments]}
    if asked.with_utterances:
        results["utterances"] = _utterances(segments, asked=asked, job_id=job_id)
    model_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{asked.model}/{transcript.engine}"))
    metadata: dict[str, Any] = {
        "transaction_key": "deprecated",
        "request_id": request_id,
        "sha256": sha256,
        "created": created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "duration": transcript.duration_ms / 1000,
        "channels": len(segments),
        "models": [model_id],
        "model_info": {
            model_id: {
                "name": asked.model,
                "version": transcript.engine,
                "arch": transcript.engine.partition("/")[0],
            }
        },
    }
    if asked.tags:
        metadata["tags"] = list(asked.tags)
    if asked.extra:
        metadata["extra"] = dict(asked.extra)
    warnings = [*asked.warnings, *({"parameter": "", "type": "note", "message": note} for note in transcript.notes)]
    if warnings:
        metadata["warnings"] = warnings
    return {"metadata": metadata, "results": results}


def _by_channel(transcript: Transcript, channel_count: int) -> list[list[Segment]]:
    """Return the segments of each channel. With split channels, the speakers S1, S2, ... are the channels."""
    channels: list[list[Segment]] = [[] for _ in range(max(1, channel_count))]
    for segment in transcript.segments:
        channels[min(_speaker(segment.speaker) or 0, len(channels) - 1)].append(segment)
    return channels


def _channel(segments: Sequence[Segment], transcript: Transcript, *, asked: Listen) -> dict[str, Any]:
    words = [word for segment in segments for word in segment.words]
    alternative: dict[str, Any] = {
        "transcript": _text(words, asked=asked),
        "confidence": _confidence(words),
        "words": [_word(word, asked=asked) for word in words],
    }
    if asked.options.mixed_languages and transcript.language is not None:
        alternative["languages"] = [transcript.language]
    if asked.with_paragraphs:
        alternative["paragraphs"] = _paragraphs(words, asked=asked)
    channel: dict[str, Any] = {"alternatives": [alternative]}
    if asked.with_detected_language and transcript.language is not None:
        channel["detected_language"] = transcript.language
        if transcript.language_probability is not None:
            channel["language_confidence"] = transcript.language_probability
    return channel


def _word(word: Word, *, asked: Listen) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "word": _bare(word.text),
        "start": word.start_ms / 1000,
        "end": word.end_ms / 1000,
        "confidence": round(word.probability, 4),
    }
    if asked.is_punctuated:
        shown["punctuated_word"] = word.text
    if asked.options.diarize and (speaker := _speaker(word.speaker)) is not None:
        shown["speaker"] = speaker
    return shown


def _bare(text: str) -> str:
    """Return a word in lower case, without the marks around it. A word of marks alone stays."""
    inside = [at for at, char in enumerate(text) if char.isalnum()]
    return (text[inside[0] : inside[-1] + 1] if inside else text).lower()


def _text(words: Iterable[Word], *, asked: Listen) -> str:
    if asked.is_punctuated:
        return join_words(words)
    return join_words(
        replace(word, text=_bare(word.text)) for word in words if any(char.isalnum() for char in word.text)
    )


def _confidence(words: Sequence[Word]) -> float:
    return round(sum(word.probability for word in words) / len(words), 4) if words else 0.0


def _speaker(speaker: str | None) -> int | None:
    """Return the number of a speaker, from 0: S1 is 0."""
    return int(speaker[1:]) - 1 if speaker and speaker[:1] == "S" and speaker[1:].isdecimal() else None


def _utterances(channels: Sequence[Sequence[Segment]], *, asked: Listen, job_id: uuid.UUID) -> list[dict[str, Any]]:
    """Return stretches of words without a pause and of one speaker, sorted by time."""
    found = [
        (words, channel)
        for channel, segments in enumerate(channels)
        for words in _stretches(
            [word for segment in segments for word in segment.words], pause_ms=asked.utterance_pause_ms
        )
    ]
    found.sort(key=lambda one: (one[0][0].start_ms, one[1]))
    shown = []
    for number, (words, channel) in enumerate(found):
        utterance: dict[str, Any] = {
            "start": words[0].start_ms / 1000,
            "end": words[-1].end_ms / 1000,
            "confidence": _confidence(words),
            "channel": channel,
            "transcript": _text(words, asked=asked),
            "words": [_word(word, asked=asked) for word in words],
            "id": str(uuid.uuid5(job_id, str(number))),
        }
        if asked.options.diarize and (speaker := _speaker(words[0].speaker)) is not None:
            utterance["speaker"] = speaker
        shown.append(utterance)
    return shown


def _stretches(words: Iterable[Word], *, pause_ms: int) -> list[list[Word]]:
    stretches: list[list[Word]] = []
    for word in words:
        last = stretches[-1][-1] if stretches else None
        if last is None or word.start_ms - last.end_ms >= pause_ms or word.speaker != last.speaker:
            stretches.append([])
        stretches[-1].append(word)
    return stretches


def _paragraphs(words: Sequence[Word], *, asked: Listen) -> dict[str, Any]:
    """Return {transcript, paragraphs: [{sentences: [{text, start, end}], num_words, start, end, speaker?}]}."""
    paragraphs: list[list[list[Word]]] = []
    for sentence in _sentences(words):
        last = paragraphs[-1] if paragraphs else None
        if (
            last is None
            or len(last) == MAX_SENTENCES
            or last[-1][-1].speaker != sentence[0].speaker
            or sentence[0].start_ms - last[-1][-1].end_ms >= PARAGRAPH_PAUSE_MS
        ):
            paragraphs.append([])
        paragraphs[-1].append(sentence)
    shown, texts = [], []
    for sentences in paragraphs:
        speaker = _speaker(sentences[0][0].speaker) if asked.options.diarize else None
        paragraph: dict[str, Any] = {
            "sentences": [
                {"text": join_words(one), "start": one[0].start_ms / 1000, "end": one[-1].end_ms / 1000}
                for one in sentences
            ],
            "num_words": sum(map(len, sentences)),
            "start": sentences[0][0].start_ms / 1000,
            "end": sentences[-1][-1].end_ms / 1000,
        }
        text = join_words(word for sentence in sentences for word in sentence)
        if speaker is not None:
            paragraph["speaker"] = speaker
            text = f"Speaker {speaker}: {text}"
        shown.append(paragraph)
        texts.append(text)
    return {"transcript": "".join(f"\n{text}\n" for text in texts).rstrip("\n"), "paragraphs": shown}


def _sentences(words: Iterable[Word]) -> list[list[Word]]:
    sentences: list[list[Word]] = []
    for word in words:
        last = sentences[-1][-1] if sentences else None
        if last is None or last.text.rstrip("\"'”’)»").endswith(scripts.SENTENCE_ENDS) or last.speaker != word.speaker:
            sentences.append([])
        sentences[-1].append(word)
    return sentences
