"""What workers and the engine process say to each other: msgpack over a local ZeroMQ socket.

    worker                                   engine process
    {"kind": "ping", "id", "about"}       -> {"id", "kind": "pong", "is_known", "state", "engine": {...}, ...}
    {"kind": "recognise", "id", "options"}
      + one frame of float32 per clip     -> {"id", "kind": "result", "recognitions": [...]}
                                           | {"id", "kind": "busy"}      queue full or stopping: ask again later
                                           | {"id", "kind": "error", "error": {"type", "message", "data"}}

`id` is chosen by the worker and unique; the engine process answers the same id once, to whoever asked for it last.
`about` is the id of a request: messages keep their order, so a pong that comes before its answer and does not know
it (`is_known`) shows that the process which took the request is gone, and the worker asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack

from transcription.speech.engines.base import Recognition
from transcription.speech.errors import EngineFailed, EngineUnavailable
from transcription.speech.transcript import Word

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

MAX_CLIPS = 64
MAX_CLIP_BYTES = 4 * 16_000 * 35  # 30 s and some tolerance
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


def pack_clips(clips: Sequence[Samples]) -> list[bytes]:
    """Return one frame of little-endian float32 per clip."""
    return [clip.astype("<f4", copy=False).tobytes() for clip in clips]


def check_size(frames: Sequence[bytes]) -> None:
    """Raise EngineFailed when the frames of clips are too many, too long or not float32."""
    if len(frames) > MAX_CLIPS or any(len(frame) > MAX_CLIP_BYTES or len(frame) % 4 for frame in frames):
        raise EngineFailed("The clips sent to the engine are too many or too long.")


def unpack_clips(frames: Sequence[bytes]) -> list[Samples]:
    """Return the clips, after `check_size`."""
    import numpy as np

    return [np.frombuffer(frame, dtype="<f4").astype(np.float32, copy=False) for frame in frames]


def recognition_to_list(heard: Recognition) -> list[Any]:
    """Return [language, probability, [[text, start_ms, end_ms, probability], ...]]."""
    words = [[word.text, word.start_ms, word.end_ms, word.probability] for word in heard.words]
    return [heard.language, heard.language_probability, words]


def recognition_from_list(packed: list[Any]) -> Recognition:
    """Rebuild what `recognition_to_list` made."""
    language, probability, words = packed
    return Recognition(words=tuple(Word(*word) for word in words), language=language, language_probability=probability)
