"""Values with which generated requests get past the first check. schemathesis loads this file, in its own environment.

It makes requests from /openapi.json. Where the document says "a text", it would send noise, and every answer would be a
400: in seven of eight cases such a field has a value from here.
"""

import base64
import io
import json
import os
import wave
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st

SAMPLES = Path(__file__).parent.parent / "fixtures" / "whisper" / "samples"
# What the test knows of the running product: {"jobs": ids, "files": ids}.
KNOWN = json.loads(os.environ["KNOWN"])
CHAT = "/v1/apex/"
# Of eight values, this one is noise: not the first, which comes most often.
NOISE = 8


def beginning_of(name: str, *, seconds: float) -> bytes:
    """Return the beginning of a sample, a recording that takes little time."""
    made = io.BytesIO()
    with wave.open(str(SAMPLES / name)) as whole, wave.open(made, "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(int(seconds * whole.getframerate())))
    return made.getvalue()


RECORDINGS = [
    beginning_of("en-hello.wav", seconds=1.5),
    beginning_of("es-hola.wav", seconds=1.5),
    (SAMPLES / "silent.flac").read_bytes(),
]
MODELS = ["standard", "premium", "whisper-1", "gpt-4o-transcribe-diarize", "nova-3", "vn-stt-basic"]
LANGUAGES = ["en", "es", "en-US", "auto"]
SENSIBLE: dict[str, list[Any]] = {
    "channels": [1, 2],
    "created_after": ["2026-01-01 00:00:00"],
    "created_before": ["2099-01-01"],
    "cursor": [""],
    "data": [base64.b64encode(recording).decode() for recording in RECORDINGS],
    "detect_language": ["true", ["en", "es"]],
    "encoding": ["linear16"],
    "exclude": ["vtt", "segments,billing", "vtt,segments,metadata,billing,detected_language"],
    "file_id": KNOWN["files"],
    "from": ["2026-11-01"],
    "group_by": ["day", "model", "key", "tag", "day,key,kind"],
    "job_id": KNOWN["jobs"],
    "language": LANGUAGES,
    "language_hint": [["en"]],
    "languages": [["en", "es"], "en,es"],
    "limit": [1, 5],
    "llm_model_id": ["apex-latest"],
    "max_chars_per_line": [30],
    "max_lines": [2],
    "max_seconds": [5],
    "max_speakers": [3],
    "metadata": [{"a": "b"}],
    "min_seconds": [1],
    "min_speakers": [1],
    "model": MODELS,
    "model_id": MODELS,
    "num_speakers": [2],
    "offset": [0, 1],
    "output": ["json", "txt", "srt", "vtt", "tsv"],
    "response_format": ["json", "text", "srt", "vtt", "verbose_json", "diarized_json"],
    "retention": ["keep", "delete_after_retrieval", "3"],
    "sample_rate": [8000, 16000],
    "status": ["completed", "queued"],
    "stream": [True, False],
    "timestamp_granularities": [["word"], ["segment", "word"]],
    "task": ["transcribe"],
    "to": ["2026-11-30"],
    "type": ["big_file", "batch", "put", "multipart"],
    "utt_split": [0.5],
    "vtt_granularity": ["sentence", "word"],
}

# The product fetches a recording from there or calls it later, so these are never noise, and of this machine, which it
# refuses.
ADDRESSES = {"url": "http://127.0.0.1/recording.wav", "webhook_url": "http://127.0.0.1/hook"}

schemathesis.openapi.format("binary", st.sampled_from(RECORDINGS * 3) | st.binary(max_size=64))


def mended(value: Any, *, path: str) -> st.SearchStrategy[Any]:
    """Return a strategy of this value with sensible values in its fields."""
    if isinstance(value, list):
        return st.tuples(*(mended(each, path=path) for each in value)).map(list)
    if not isinstance(value, dict):
        return st.just(value)
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for name, inner in value.items():
        if name in ADDRESSES:
            fields[name] = st.just(ADDRESSES[name])
            continue
        choices = ["apex-latest"] if name == "model" and path.startswith(CHAT) else SENSIBLE.get(name)
        if choices is None:
            fields[name] = mended(inner, path=path)
        else:
            kept = st.just(inner)
            fields[name] = st.integers(1, 8).flatmap(
                lambda eighth, kept=kept, choices=choices: kept if eighth == NOISE else st.sampled_from(choices)
            )
    return st.fixed_dictionaries(fields)


@schemathesis.hook
def flatmap_body(context: Any, body: Any) -> st.SearchStrategy[Any]:
    return mended(body, path=context.operation.path)


@schemathesis.hook
def flatmap_query(context: Any, query: Any) -> st.SearchStrategy[Any]:
    return mended(query, path=context.operation.path)


@schemathesis.hook
def flatmap_path_parameters(context: Any, path_parameters: Any) -> st.SearchStrategy[Any]:
    return mended(path_parameters, path=context.operation.path)


@schemathesis.hook
def flatmap_headers(context: Any, headers: Any) -> st.SearchStrategy[Any]:
    """Replace most keys of requests by new ones. Of each other key there is only the first answer, and then 409."""
    if "Idempotency-Key" not in (headers or {}):
        return st.just(headers)
    new = st.uuids().map(lambda key: {**headers, "Idempotency-Key": str(key)})
    return st.integers(1, 8).flatmap(lambda eighth: st.just(headers) if eighth == NOISE else new)
