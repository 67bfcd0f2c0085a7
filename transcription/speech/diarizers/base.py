"""What a diarizer is: it is fed the clips of one recording and says who spoke when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Turn

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]


class Diarization(Protocol):
    """One recording in progress."""

    def add(self, start_ms: int, samples: Samples) -> None:
        """Take the next clip. samples: float32, 16 kHz mono; keeps what it needs of them, never all of them."""
        ...

    def turns(self) -> list[Turn]:
        """Return who spoke when: sorted, non-overlapping, every clip covered, speakers "S1", "S2", ... by appearance.

        Call it once, after the last clip.
        """
        ...


class Diarizer(Protocol):
    """Starts diarizations; one object serves many recordings."""

    @property
    def name(self) -> str: ...

    def begin(self, *, options: TranscriptionOptions) -> Diarization: ...
