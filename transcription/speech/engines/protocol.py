"""What workers and the engine process say to each other: msgpack over a local ZeroMQ socket.

    worker                                          engine process
    {"kind": "ping", "id", "about": [id, ...],
     "model"}                                    -> {"id", "kind": "pong", "unknown": [id, ...], "state", ...}
    {"kind": "recognise", "id", "job", "priority",
     "model", "options"} + one frame of float32  -> {"id", "kind": "result", "recognition": [...]}
                                                  | {"id", "kind": "busy"}      queue full: ask again later
                                                  | {"id", "kind": "error", "error": {"type", "message", "data"}}
    {"kind": "cancel", "ids": [id, ...]}         -> nothing; what waits is dropped, what is computed is not answered

`id` is chosen by the worker and unique; the engine process answers the same id once, to whoever asked for it last.
`about` names requests: messages keep their order, so a pong that comes before their answers and does not know them
(`unknown`) shows that the process which took them is gone or dropped them, and the worker asks again. Whoever is
silent for `host.VANISHED_SECONDS` is taken for gone, and its waiting requests are dropped.

Any other `kind` goes to the service that the engine process was given for it (`service.Service`), with the frames
that follow; its fields beside `kind`, `id`, `job` and `priority`, and those of its result, are that service's own.
`exchange.EngineClient` is the worker's side of all kinds. `job` names the job, for fairness between jobs; `priority` is
one of PRIORITIES; `model` one of the names that the engine process was given ("standard", "premium").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack

from transcription.speech.engines.base import EngineInfo, Recognition
from transcription.speech.errors import EngineFailed, EngineUnavailable
from transcription.speech.samples import BYTES_PER_SAMPLE, Samples, ms_to_samples
from transcription.speech.transcript import Word

PRIORITIES = ("interactive", "standard", "bulk")
MAX_CLIP_BYTES = BYTES_PER_SAMPLE * ms_to_samples(35_000)  # 30 s and some tolerance
# A Unix socket's path has 107 bytes on Linux, 103 on macOS.
MAX_PATH_BYTES = 100
_SCHEME = "ipc://"


def socket_path(address: str) -> Path:
    """Return the path of an "ipc://..." address. Raises EngineUnavailable for what cannot be one."""
    if not address.startswith(_SCHEME):
        raise EngineUnavailable(f"An engine address starts with {_SCHEME}.")
    path = Path(address.removeprefix(_SCHEME))
    if len(bytes(path)) > MAX_PATH_BYTES:
        raise EngineUnavailable(f"The engine's socket path has more than {MAX_PATH_BYTES} bytes: {path}")
    return path


def pack(message: dict[str, Any]) -> bytes:
    """Return the message as bytes."""
    packed: bytes = msgpack.packb(message)
    return packed


def unpack(frame: bytes) -> dict[str, Any]:
    """Return the message, {} when the bytes are none."""
    try:
        message = msgpack.unpackb(frame)
    except (ValueError, msgpack.UnpackException):
        return {}
    return message if isinstance(message, dict) else {}


def pack_clip(clip: Samples) -> bytes:
    """Return the frame of a clip: little-endian float32. Raises EngineFailed for one that is too long."""
    frame = clip.astype("<f4", copy=False).tobytes()
    check_clip([frame])
    return frame


def check_clip(frames: Sequence[bytes]) -> None:
    """Raise EngineFailed unless the frames are one clip of float32 that is not too long."""
    if len(frames) != 1 or len(frames[0]) > MAX_CLIP_BYTES or len(frames[0]) % BYTES_PER_SAMPLE:
        raise EngineFailed("The clip sent to the engine is too long or not float32.")


def unpack_clip(frame: bytes) -> Samples:
    """Return the clip, after `check_clip`."""
    import numpy as np

    return np.frombuffer(frame, dtype="<f4").astype(np.float32, copy=False)


def recognition_to_list(heard: Recognition) -> list[Any]:
    """Return [language, probability, [[text, start_ms, end_ms, probability], ...]]."""
    words = [[word.text, word.start_ms, word.end_ms, word.probability] for word in heard.words]
    return [heard.language, heard.language_probability, words]


def recognition_from_list(packed: list[Any]) -> Recognition:
    """Rebuild what `recognition_to_list` made."""
    language, probability, words = packed
    return Recognition(words=tuple(Word(*word) for word in words), language=language, language_probability=probability)


def description(engine: EngineInfo, *, max_batch: int) -> dict[str, Any]:
    """Return what a pong says of an engine; in_flight is how many clips one job should keep asking for."""
    return {
        "name": engine.name,
        "languages": None if engine.languages is None else sorted(engine.languages),
        "max_clip_ms": engine.max_clip_ms,
        "pause_ms": engine.pause_ms,
        "packs_clips": engine.packs_clips,
        "notes": list(engine.notes),
        "supported_options": sorted(engine.supported_options),
        "max_batch": max_batch,
        "in_flight": max_batch + max(1, max_batch // 2),
    }
