"""Diarization across processes: the engine process answers, workers ask. Knows no socket.

    request of kind "diarize": {"path", "options"}  result: {"turns": [[start_ms, end_ms, speaker, is_background]]}

`path` is a spool's file (see `diarizers.spool`) in a folder that both see, such as the socket's. The recording does not
go through the socket: it is needed whole, an hour is 115 MB, and a request sent again must cost nothing. Who can
ask is our own user: a path tells nobody what they could not read.
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
# (fields of the request, no frames, whether to stop) -> fields of the result. Raises SpeechError.
Handler = Callable[[dict[str, Any], list[bytes], ShouldStop], dict[str, Any]]
# What `whole.Find` is, for a caller who may lose interest: raises Stopped then.
StoppableFindTurns = Callable[[Path, TranscriptionOptions, ShouldStop], list[Turn]]
# The same from the worker's side. Raises EngineUnavailable when no answer comes, and what the engine process raised.
Ask = Callable[[dict[str, Any]], dict[str, Any]]


def pyannote_handler(pipeline: str, *, token: str | None = None, device: str | None = None) -> Callable[[], Handler]:
    """Return what loads pyannote (see `PyannotePipeline`) in the thread that will answer, and what it answers with."""
    return lambda: make_handler(PyannotePipeline(pipeline, token=token, device=device).find_in)


def make_handler(find: StoppableFindTurns) -> Handler:
    """Return what answers requests of kind "diarize" with a loaded model. One thread calls it."""

    def answer(message: dict[str, Any], frames: list[bytes], should_stop: ShouldStop) -> dict[str, Any]:
        try:
            path, options = Path(message["path"]), TranscriptionOptions.from_dict(message["options"])
        except (KeyError, TypeError, AttributeError) as error:
            raise EngineFailed("The request to diarize is broken.") from error
        return {"turns": turns_to_list(find(path, options, should_stop))}

    return answer


class RemoteDiarizer(FullRecordingDiarizer):
    """The worker's side: implements `diarizers.base.Diarizer` by asking.

    ask: sends a request of kind "diarize" to the engine process and waits for its result.
    folder: where recordings wait, seen by the engine process too. max_seconds: longer ones are clustered here.
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
    """Rebuild what `turns_to_list` made."""
    return [Turn(*one) for one in packed]
