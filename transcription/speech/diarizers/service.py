"""Diarization in the engine process on behalf of workers. Knows nothing of sockets.

    requests of kind "diarize"                                  result
    {"recording", "number", "offset"} + one frame of samples -> {} or {"is_missing": true}
    {"recording", "parts", "options"}                        -> {"turns": [[start_ms, end_ms, speaker, is_background]]}
                                                                or {"is_missing": true}

The model needs all of a recording, and an hour is 115 MB. So a worker sends it in parts of a megabyte, each of which is
answered, and then asks for the turns. The engine process keeps the parts in a file of its own, maybe on another host.
recording: a name that the worker makes. number: of the part, from 0. offset: of its first byte in the recording, which
is little-endian int16, 16 kHz mono. is_missing: this process does not have what was sent before, since another one got
it; the worker then sends all of it again.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transcription.speech.diarizers import spool
from transcription.speech.diarizers.full_recording import FullRecordingDiarizer
from transcription.speech.diarizers.pyannote import PyannotePipeline
from transcription.speech.diarizers.spool import Spool
from transcription.speech.errors import EngineFailed, EngineUnavailable
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import ms_to_samples
from transcription.speech.transcript import Turn

KIND = "diarize"
ShouldStop = Callable[[], bool]
# (fields of the request, no frames, should_stop) -> fields of the result. Raises SpeechError.
Handler = Callable[[dict[str, Any], list[bytes], ShouldStop], dict[str, Any]]
# `full_recording.FindTurns` with should_stop: raises Stopped when that returns true.
StoppableFindTurns = Callable[[Path, TranscriptionOptions, ShouldStop], list[Turn]]
# The client side: (fields of the request, frames) -> fields of the result. Raises EngineUnavailable without an answer,
# and the errors of the engine process.
Ask = Callable[[dict[str, Any], Sequence[bytes]], dict[str, Any]]
# How often a worker sends a recording, if each engine process that begins to take it is gone before it has all.
MAX_SENDINGS = 5
# A recording of which no part came for this long belongs to a worker that is gone, or has canceled it.
ABANDONED_SECONDS = 3600.0
MISSING = {"is_missing": True}

logger = logging.getLogger(__name__)


def pyannote_handler(
    pipeline: str, *, recordings: Recordings, token: str | None = None, device: str | None = None
) -> Callable[[], Handler]:
    """Return a function that loads pyannote (see `PyannotePipeline`) and returns the handler of requests to diarize."""
    return lambda: make_handler(PyannotePipeline(pipeline, token=token, device=device).find_in, recordings=recordings)


def make_handler(find: StoppableFindTurns, *, recordings: Recordings) -> Handler:
    """Return the handler of requests for the turns of `recordings`, for a loaded model. Call it in one thread only."""

    def answer(message: dict[str, Any], frames: list[bytes], should_stop: ShouldStop) -> dict[str, Any]:
        try:
            name, options = message["recording"], TranscriptionOptions.from_dict(message["options"])
        except (KeyError, TypeError, AttributeError) as error:
            raise EngineFailed("The request to diarize is broken.") from error
        with recordings.taken(name) as path:
            return {"is_missing": True} if path is None else {"turns": turns_to_list(find(path, options, should_stop))}

    return answer


class Recordings:
    """What workers have sent to be diarized, in the engine process. Any thread may use it.

    folder: place of the files, which must exist; None for the system's folder of temporary files.
    max_seconds: longer recordings are refused.
    """

    def __init__(self, *, folder: Path | None, max_seconds: int) -> None:
        self._folder, self._max_bytes = folder, ms_to_samples(max_seconds * 1000) * spool.BYTES_PER_SAMPLE
        self._received: dict[str, _Received] = {}
        self._lock = threading.Lock()

    def take(self, message: dict[str, Any], frames: Sequence[bytes]) -> dict[str, Any] | None:
        """Store a part and return the answer. Return None for a request for the turns, if all parts are here.

        Raises EngineFailed for a broken request, and for a recording that is too long.
        """
        try:
            name = str(message["recording"])
            if not frames:
                return None if self._has_all(name, parts=int(message["parts"])) else dict(MISSING)
            number, offset = int(message["number"]), int(message["offset"])
        except (KeyError, TypeError, ValueError) as error:
            raise EngineFailed("The request to diarize is broken.") from error
        if offset < 0 or offset + len(frames[0]) > self._max_bytes:
            raise EngineFailed("The recording to diarize is too long.")
        with self._lock:
            received = self._received.get(name)
            if received is None:
                if number:
                    return dict(MISSING)
                self._sweep()
                received = self._received[name] = _Received(Spool(self._folder))
            received.spool.write(offset, frames[0])
            received.numbers.add(number)
            received.touched_at = time.monotonic()
        return {}

    @contextmanager
    def taken(self, name: str) -> Iterator[Path | None]:
        """Yield the spool file of a recording, None if it is not here, and remove it afterwards."""
        with self._lock:
            received = self._received.pop(name, None)
        try:
            yield None if received is None else received.spool.path
        finally:
            if received is not None:
                received.spool.close()

    def _has_all(self, name: str, *, parts: int) -> bool:
        with self._lock:
            received = self._received.get(name)
            return received is not None and len(received.numbers) == parts

    def _sweep(self) -> None:
        """Remove what workers have left behind. The caller holds the lock."""
        oldest = time.monotonic() - ABANDONED_SECONDS
        for name in [name for name, one in self._received.items() if one.touched_at < oldest]:
            self._received.pop(name).spool.close()


class _Received:
    """A recording of which parts have come. numbers: of these parts."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.numbers: set[int] = set()
        self.touched_at = time.monotonic()


class RemoteDiarizer(FullRecordingDiarizer):
    """Implements `diarizers.base.Diarizer` in a worker: sends the recording to the engine process.

    ask: sends a request of kind "diarize" to the engine process and waits for its result.
    folder: place of the recordings of this worker. max_seconds: longer ones are clustered here.
    """

    def __init__(self, name: str, *, ask: Ask, max_seconds: int, folder: Path) -> None:
        super().__init__(name, find=self._find_remotely, max_seconds=max_seconds, folder=folder)
        self._ask = ask

    def _find_remotely(self, path: Path, options: TranscriptionOptions) -> list[Turn]:
        for _ in range(MAX_SENDINGS):
            turns = self._sent(path, options)
            if turns is not None:
                return turns
            logger.info("another engine process takes the recording to diarize: it is sent again")
        raise EngineUnavailable

    def _sent(self, path: Path, options: TranscriptionOptions) -> list[Turn] | None:
        """Return the turns, None if the engine process that answers did not get all parts."""
        name, count = secrets.token_hex(12), 0
        for count, (offset, part) in enumerate(spool.parts(path), start=1):
            sent = self._ask({"recording": name, "number": count - 1, "offset": offset}, [part])
            if sent.get("is_missing"):
                return None
        if not count:
            return []
        answer = self._ask({"recording": name, "parts": count, "options": options.to_dict()}, [])
        return None if answer.get("is_missing") else turns_from_list(answer["turns"])


def turns_to_list(turns: Sequence[Turn]) -> list[list[Any]]:
    """Return [[start_ms, end_ms, speaker, is_background], ...]."""
    return [[turn.start_ms, turn.end_ms, turn.speaker, turn.is_background] for turn in turns]


def turns_from_list(packed: Sequence[Sequence[Any]]) -> list[Turn]:
    """Rebuild turns from `turns_to_list()`."""
    return [Turn(*one) for one in packed]
