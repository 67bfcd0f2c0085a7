"""Diarization in the engine process on behalf of workers. Knows nothing of sockets.

    request of kind "diarize": {"path", "options"}  result: {"turns": [[start_ms, end_ms, speaker, is_background]]}

`path` is a spool file (see `diarizers.spool`) in a folder that both processes see, such as that of the socket. The
recording does not go through the socket: the model needs all of it, an hour is 115 MB, and requests may be sent again.
Only processes of our own user can send requests, so a path gives access to nothing that the sender could not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transcription.speech.diarizers.full_recording import FullRecordingDiarizer
from transcription.speech.diarizers.pyannote import PyannotePipeline
from transcription.speech.errors import EngineFailed
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Turn

KIND = "diarize"
ShouldStop = Callable[[], bool]
# (fields of the request, no frames, should_stop) -> fields of the result. Raises SpeechError.
Handler = Callable[[dict[str, Any], list[bytes], ShouldStop], dict[str, Any]]
# `full_recording.FindTurns` with should_stop: raises Stopped when that returns true.
StoppableFindTurns = Callable[[Path, TranscriptionOptions, ShouldStop], list[Turn]]
# The client side: fields of the request -> fields of the result. Raises EngineUnavailable without an answer, and the
# errors of the engine process.
Ask = Callable[[dict[str, Any]], dict[str, Any]]


def pyannote_handler(pipeline: str, *, token: str | None = None, device: str | None = None) -> Callable[[], Handler]:
    """Return a function that loads pyannote (see `PyannotePipeline`) and returns the handler of requests to diarize."""
    return lambda: make_handler(PyannotePipeline(pipeline, token=token, device=device).find_in)


def make_handler(find: StoppableFindTurns) -> Handler:
    """Return the handler of requests of kind "diarize" for a loaded model. Call the handler in one thread only."""

    def answer(message: dict[str, Any], frames: list[bytes], should_stop: ShouldStop) -> dict[str, Any]:
        try:
            path, options = Path(message["path"]), TranscriptionOptions.from_dict(message["options"])
        except (KeyError, TypeError, AttributeError) as error:
            raise EngineFailed("The request to diarize is broken.") from error
        return {"turns": turns_to_list(find(path, options, should_stop))}

    return answer


class RemoteDiarizer(FullRecordingDiarizer):
    """Implements `diarizers.base.Diarizer` in a worker: sends the recording to the engine process.

    ask: sends a request of kind "diarize" to the engine process and waits for its result.
    folder: place of the recordings, which the engine process sees too. max_seconds: longer ones are clustered here.
    """

    def __init__(self, name: str, *, ask: Ask, max_seconds: int, folder: Path) -> None:
        super().__init__(name, find=self._find_remotely, max_seconds=max_seconds, folder=folder)
        self._ask = ask

    def _find_remotely(self, path: Path, options: TranscriptionOptions) -> list[Turn]:
        return turns_from_list(self._ask({"path": str(path), "options": options.to_dict()})["turns"])


def turns_to_list(turns: Sequence[Turn]) -> list[list[Any]]:
    """Return [[start_ms, end_ms, speaker, is_background], ...]."""
    return [[turn.start_ms, turn.end_ms, turn.speaker, turn.is_background] for turn in turns]


def turns_from_list(packed: Sequence[Sequence[Any]]) -> list[Turn]:
    """Rebuild turns from `turns_to_list()`."""
    return [Turn(*one) for one in packed]
