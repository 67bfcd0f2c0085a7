"""What a diarizer is: it is fed the clips of one recording and says who spoke when."""

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

    def add(self, start_ms: int, samples: Samples) -> None:
        """Take the next clip. samples: float32, 16 kHz mono; keeps what it needs of them, never all in memory."""
        ...

    def turns(self) -> list[Turn]:
        """Return who spoke when: sorted by time, speakers "S1", "S2", ... by appearance; [] only without a clip.

        Turns that are not in the background never overlap; a background turn says that somebody speaks beside them.
        Call it once, after the last clip. Raises EngineUnavailable where another process does the work.
        """
        ...


class Diarizer(Protocol):
    """Starts diarizations; one object serves many recordings."""

    @property
    def name(self) -> str: ...

    def begin(self, *, options: TranscriptionOptions) -> Diarization: ...
