"""Transcripts in the shapes of OpenAI's audio API. Pure.

Sources: openai-python 3.x, `types/audio/` (transcription, transcription_verbose, transcription_diarized,
transcription_text_delta_event and its neighbours), and what other clients choke on: README.md beside this file.
"""

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from transcription.dialects.openai.wire import Asked
from transcription.speech.engines import whisper_languages
from transcription.speech.transcript import Segment, Transcript, Word

# The least probability that has a logarithm worth writing.
MIN_PROBABILITY = 1e-10
DELTA, SEGMENT, DONE = "transcript.text.delta", "transcript.text.segment", "transcript.text.done"
ERROR = "error"
EVENTS = (DELTA, SEGMENT, DONE, ERROR)


def show(transcript: Transcript, *, asked: Asked, job_id: str, cost_micros: int) -> dict[str, Any]:
    """Return the body of one of the JSON formats. A stream may end with any other, which is as good as json."""
    shapes = {"json": _json, "verbose_json": _verbose, "diarized_json": _diarized}
    body = shapes.get(asked.format, _json)(transcript, asked)
    if asked.has_cost:
        body["usage"]["cost"] = cost_micros / 1_000_000
    # Groq's client refuses an answer without it, and takes any id.
    return {**body, "x_groq": {"id": job_id}}


def language_name(transcript: Transcript) -> str:
    """Return the language as OpenAI writes it: its English name in lower case."""
    code = transcript.written_in
    return whisper_languages.LANGUAGES.get(code, code).lower() if code else "unknown"


def event(kind: str, data: dict[str, Any]) -> bytes:
    """Return one server-sent event. Its type stands twice, since clients look for it in either place.

    Of ASCII alone: some clients end a line at a line separator of Unicode (Python's `str.splitlines`).
    """
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def error_event(body: dict[str, Any]) -> bytes:
    """Return an error as an event. Both packages of OpenAI raise it for its `error`."""
    return f"event: {ERROR}\ndata: {json.dumps(body)}\n\n".encode()


def end_events(transcript: Transcript, *, shown: str, asked: Asked, job_id: str, cost_micros: int) -> Iterator[bytes]:
    """Yield the last events of a stream. shown: the text of its deltas. All deltas together are the text of `done`."""
    rest = remaining(transcript.text, shown=shown)
    text = transcript.text if rest is None else shown + rest
    if rest:
        yield event(DELTA, {"delta": rest})
    if asked.format == "diarized_json":
        for segment in _diarized_segments(transcript.segments):
            yield event(SEGMENT, {name: value for name, value in segment.items() if name != "type"})
        segments = _diarized_segments(transcript.segments)
    else:
        segments = [_verbose_segment(number, segment) for number, segment in enumerate(transcript.segments)]
    body = show(transcript, asked=asked, job_id=job_id, cost_micros=cost_micros)
    kept: dict[str, Any] = {
        name: body[name] for name in ("usage", "languages", "language", "model", "logprobs") if name in body
    }
    yield event(DONE, {"text": text, **kept, "segments": segments})


def remaining(text: str, *, shown: str) -> str | None:
    """Return what of the text follows what was shown, None if that is no beginning of it. Blanks do not count."""
    if text.startswith(shown):
        return text[len(shown) :]
    position = 0
    for character in shown:
        if character.isspace():
            continue
        while position < len(text) and text[position].isspace():
            position += 1
        if position == len(text) or text[position] != character:
            return None
        position += 1
    return text[position:]


def _json(transcript: Transcript, asked: Asked) -> dict[str, Any]:
    body = {
        "text": transcript.text,
        "languages": [{"code": transcript.language}] if transcript.language else [],
        "language": language_name(transcript),
        "model": asked.model,
        "usage": _usage(transcript),
    }
    if asked.has_logprobs:
        body["logprobs"] = [_logprob(word) for word in transcript.words]
    return body


def _verbose(transcript: Transcript, asked: Asked) -> dict[str, Any]:
    body = {
        "task": "translate" if transcript.is_translated else "transcribe",
        "duration": _seconds(transcript.duration_ms),
        **_json(transcript, asked),
    }
    # An empty list of segments would hide the words from the AI SDK, so it is left out.
    if "segment" in asked.granularities and transcript.segments:
        body["segments"] = [_verbose_segment(number, segment) for number, segment in enumerate(transcript.segments)]
    if "word" in asked.granularities:
        body["words"] = [
            {"word": word.text, "start": _seconds(word.start_ms), "end": _seconds(word.end_ms)}
            for word in transcript.words
        ]
    return body


def _verbose_segment(number: int, segment: Segment) -> dict[str, Any]:
    """Return a segment with all fields that OpenAI's has. None may be null or absent.

    seek is where Whisper's window began, in hundredths of a second: ours begin where speech does. Of the tokens and of
    the probability that nobody speaks, nothing is kept of the work, and silence was cut out before it.
    """
    content = segment.text.encode()
    shown = {
        "id": number,
        "seek": segment.start_ms // 10,
        "start": _seconds(segment.start_ms),
        "end": _seconds(segment.end_ms),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": _mean_logprob(segment.words),
        "compression_ratio": round(len(content) / len(zlib.compress(content)), 4),
        "no_speech_prob": 0.0,
    }
    if segment.speaker is not None:
        shown["speaker"] = _letter(segment.speaker)
    return shown


def _diarized(transcript: Transcript, asked: Asked) -> dict[str, Any]:
    return {
        "task": "translate" if transcript.is_translated else "transcribe",
        "duration": _seconds(transcript.duration_ms),
        **_json(transcript, asked),
        "segments": _diarized_segments(transcript.segments),
    }


def _diarized_segments(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    return [
        {
            "type": SEGMENT,
            "id": f"seg_{number}",
            "start": _seconds(segment.start_ms),
            "end": _seconds(segment.end_ms),
            "text": segment.text,
            "speaker": _letter(segment.speaker),
        }
        for number, segment in enumerate(segments)
    ]


def _letter(speaker: str | None) -> str:
    """Return A for the first speaker, B for the second, and AA after Z."""
    if speaker is None:
        return "A"
    if not (speaker[:1] == "S" and speaker[1:].isdecimal()):
        return speaker
    number, letters = int(speaker[1:]), ""
    while number > 0:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": _seconds(transcript.duration_ms)}


def _logprob(word: Word) -> dict[str, Any]:
    token = f" {word.text}" if word.has_space_before else word.text
    return {"token": token, "logprob": _log(word.probability), "bytes": list(token.encode())}


def _mean_logprob(words: Sequence[Word]) -> float:
    return round(sum(_log(word.probability) for word in words) / len(words), 4) if words else 0.0


def _log(probability: float) -> float:
    # No negative zero, which some readers of JSON do not take for a number.
    return round(math.log(min(1.0, max(probability, MIN_PROBABILITY))), 4) + 0.0


def _seconds(milliseconds: int) -> float:
    return milliseconds / 1000
