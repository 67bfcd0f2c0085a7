"""The messages between workers and the engine process: msgpack over a ZeroMQ socket, local or by TCP with keys.

    worker                                          engine process
    {"kind": "ping", "id", "about": [id, ...],
     "model"}                                    -> {"id", "kind": "pong", "unknown": [id, ...], "state", ...}
    {"kind": "recognise", "id", "job", "priority",
     "model", "options", "waited_ms"} + one
    frame of float32                             -> {"id", "kind": "result", "recognition": [...]}
                                                  | {"id", "kind": "busy"}      queue full: ask again later
                                                  | {"id", "kind": "error", "error": {"type", "message", "data"}}
    {"kind": "cancel", "ids": [id, ...]}         -> no answer; waiting requests are dropped, running ones not answered
    {"kind": "release", "ids": [id, ...]}        -> {"id", "kind": "released", "waited_ms": {id: milliseconds}}

id: chosen by the worker, unique. The engine process answers it once, to the client that sent it last.
about: ids of requests that the client waits for. Messages keep their order. So if a pong arrives before the answer of a
request, and lists it in `unknown`, the process that received the request is gone or has dropped it, and the client
sends the request again. The requests of a client that is silent for `server.CLIENT_TIMEOUT_SECONDS` are dropped.
released: of the clips that the client wanted back, those that were in no batch yet. The process forgets them, and the
client sends them to another one, with the `waited_ms` that they have waited so far, so that they keep their turn there.
job: id of the job, for fairness between jobs. priority: one of PRIORITIES. model: a name that the engine process knows
("standard", "premium").

A message of another `kind` goes to the service for that kind (`service.Service`), with the frames that follow it. The
service defines its fields, except `kind`, `id`, `job` and `priority`, and the fields of its result.
`client.EngineClient` is the client of all kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from transcription.speech.engines.base import EngineInfo, Recognition
from transcription.speech.errors import EngineFailed, EngineUnavailable
from transcription.speech.samples import BYTES_PER_SAMPLE, Samples, ms_to_samples
from transcription.speech.transcript import Word

PRIORITIES = ("interactive", "standard", "bulk")
MAX_CLIP_BYTES = BYTES_PER_SAMPLE * ms_to_samples(35_000)  # the longest clip (30 s) with a tolerance
# A Unix socket's path has 107 bytes on Linux, 103 on macOS.
MAX_PATH_BYTES = 100
_SCHEME, _REMOTE_SCHEME = "ipc://", "tcp://"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a client connects to. url: ZeroMQ's. public_key: of the engine, for TCP only."""

    url: str
    public_key: str = ""


def endpoint(address: str) -> Endpoint:
    """Return what an address stands for: "ipc://" and a path, or "tcp://PUBLIC_KEY@HOST:PORT" with the engine's key.

    Raises EngineUnavailable for an invalid address: also for one over TCP without a key, since it may be anybody's.
    """
    if not address.startswith(_REMOTE_SCHEME):
        socket_path(address)
        return Endpoint(address)
    key, at, place = address.removeprefix(_REMOTE_SCHEME).partition("@")
    host, colon, port = place.rpartition(":")
    if not (at and key and host and colon and port.isdecimal()):
        raise EngineUnavailable(f"The address of an engine on another host is {_REMOTE_SCHEME}PUBLIC_KEY@HOST:PORT.")
    return Endpoint(f"{_REMOTE_SCHEME}{place}", key)


def socket_path(address: str) -> Path:
    """Return the path of an "ipc://..." address. Raises EngineUnavailable for an invalid address."""
    if not address.startswith(_SCHEME):
        raise EngineUnavailable(f"An engine address starts with {_SCHEME}.")
    path = Path(address.removeprefix(_SCHEME))
    if len(bytes(path)) > MAX_PATH_BYTES:
        raise EngineUnavailable(f"The engine's socket path has more than {MAX_PATH_BYTES} bytes: {path}")
    return path


def instance_at(address: str) -> str:
    """Return the name of the process that serves, or served last, the socket of an "ipc://" address; "" if none did."""
    path = socket_path(address)
    try:
        return path.with_name(f"{path.name}.lock").read_text()
    except OSError:
        return ""


def pack(message: dict[str, Any]) -> bytes:
    """Return the message as bytes."""
    packed: bytes = msgpack.packb(message)
    return packed


def unpack(frame: bytes) -> dict[str, Any]:
    """Return the message, {} for bytes that are no message."""
    try:
        message = msgpack.unpackb(frame)
    except (ValueError, msgpack.UnpackException):
        return {}
    return message if isinstance(message, dict) else {}


def pack_clip(clip: Samples) -> bytes:
    """Return the frame of a clip: little-endian float32. Raises EngineFailed for a clip that is too long."""
    frame = clip.astype("<f4", copy=False).tobytes()
    check_clip([frame])
    return frame


def check_clip(frames: Sequence[bytes]) -> None:
    """Raise EngineFailed unless there is one frame of float32 that is not too long."""
    if len(frames) != 1 or len(frames[0]) > MAX_CLIP_BYTES or len(frames[0]) % BYTES_PER_SAMPLE:
        raise EngineFailed("The clip sent to the engine is too long or not float32.")


def unpack_clip(frame: bytes) -> Samples:
    """Return the clip of a frame that passed `check_clip`."""
    import numpy as np

    return np.frombuffer(frame, dtype="<f4").astype(np.float32, copy=False)


def recognition_to_list(recognition: Recognition) -> list[Any]:
    """Return [language, probability, [[text, start_ms, end_ms, probability, has_space_before], ...]]."""
    words = [
        [word.text, word.start_ms, word.end_ms, word.probability, word.has_space_before] for word in recognition.words
    ]
    return [recognition.language, recognition.language_probability, words]


def recognition_from_list(packed: list[Any]) -> Recognition:
    """Rebuild a recognition from `recognition_to_list()`."""
    language, probability, words = packed
    return Recognition(
        # An engine process of an older release says nothing of blanks.
        words=tuple(
            Word(text, start_ms, end_ms, word_probability, has_space_before=all(blank))
            for text, start_ms, end_ms, word_probability, *blank in words
        ),
        language=language,
        language_probability=probability,
    )


def description(engine: EngineInfo, *, max_batch: int) -> dict[str, Any]:
    """Return the properties of an engine for a pong. in_flight: how many clips one job should have in progress."""
    return {
        "name": engine.name,
        "languages": None if engine.languages is None else sorted(engine.languages),
        "max_clip_ms": engine.max_clip_ms,
        "pause_ms": engine.pause_ms,
        "packed_ms": engine.packed_ms,
        "notes": list(engine.notes),
        "supported_options": sorted(engine.supported_options),
        "max_batch": max_batch,
        "in_flight": max_batch + max(1, max_batch // 2),
    }
