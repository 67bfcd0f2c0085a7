"""The interface of diarizers: they get the clips of one recording and return who spoke when."""

from __future__ import annotations

from typing import Protocol

from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples
from transcription.speech.transcript import Turn


class Diarization(Protocol):
    """The diarization of one recording. Its properties are final after `turns` has returned.

    name: the diarizer that did the work, as the result names it.
    notes: plain English for the reader of the result.
    boundary_tolerance_ms: how far a change of speaker may be off (see `speakers.assign`).
    """

    @property
    def name(self) -> str: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def boundary_tolerance_ms(self) -> int: ...

    def hear(self, start_ms: int, samples: Samples) -> None:
        """Take the next window of the recording, all of it, before the clips in it. May be left out, and ignored."""
        ...

    def add(self, start_ms: int, samples: Samples) -> None:
        """Take the next clip. Keeps what it needs of the samples, and never a whole recording in memory."""
        ...

    def turns(self) -> list[Turn]:
        """Return the turns, sorted by time, speakers named "S1", "S2", ... by appearance. [] only without a clip.

        Foreground turns never overlap. A background turn marks a speaker who talks at the same time as another one.
        Call it once, after the last clip. Raises EngineUnavailable if another process does the work and is not there.
        """
        ...


class Diarizer(Protocol):
    """Starts diarizations. One object serves many recordings."""

    @property
    def name(self) -> str: ...

    def begin(self, *, options: TranscriptionOptions) -> Diarization: ...
