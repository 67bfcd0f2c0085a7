"""Diarizer for models that need the whole recording at once. It keeps the recording in a file on disk.

The memory of such a model grows with the recording, so the length is limited. For a longer recording, or when the model
fails, the neural diarizer is used instead, and the notes of the result say so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from transcription.speech.diarizers.base import Diarization
from transcription.speech.diarizers.neural import NeuralDiarizer
from transcription.speech.diarizers.spool import Spool
from transcription.speech.errors import EngineFailed
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples, samples_to_ms
from transcription.speech.transcript import Turn, number_by_appearance

logger = logging.getLogger(__name__)

# (spool file, options) -> turns, sorted, with any names. Raises EngineFailed if the model fails on this recording.
FindTurns = Callable[[Path, TranscriptionOptions], list[Turn]]

# The frames of pyannote's segmentation last 17 ms. The rest allows for the times of words, which are less exact.
BOUNDARY_TOLERANCE_MS = 200


class FullRecordingDiarizer:
    """Implements `diarizers.base.Diarizer` with a model that needs the whole recording at once.

    find: calls the model. max_seconds: length of the longest recording for the model.
    folder: place of the recordings on disk, which must exist; None for the system's folder of temporary files.
    """

    def __init__(self, name: str, *, find: FindTurns, max_seconds: int, folder: Path | None = None) -> None:
        self.name = name
        self._find, self._max_seconds, self._folder = find, max_seconds, folder

    def begin(self, *, options: TranscriptionOptions) -> FullRecordingDiarization:
        return FullRecordingDiarization(
            self.name, find=self._find, max_seconds=self._max_seconds, folder=self._folder, options=options
        )


class FullRecordingDiarization:
    """Implements `diarizers.base.Diarization`."""

    def __init__(
        self, name: str, *, find: FindTurns, max_seconds: int, folder: Path | None, options: TranscriptionOptions
    ) -> None:
        self.name = name
        self.notes: tuple[str, ...] = ()
        self.boundary_tolerance_ms = BOUNDARY_TOLERANCE_MS
        self._find, self._max_seconds, self._folder, self._options = find, max_seconds, folder, options
        self._spool: Spool | None = None
        self._fallback: Diarization | None = None

    def hear(self, start_ms: int, samples: Samples) -> None:
        """See `Diarization.hear`: only clips matter here."""

    def add(self, start_ms: int, samples: Samples) -> None:
        """See `Diarization.add`."""
        if self._fallback is None and start_ms + samples_to_ms(len(samples)) > self._max_seconds * 1000:
            self._fall_back(f"it is longer than the {_length(self._max_seconds)} that {self.name} is given here")
        if self._fallback is not None:
            self._fallback.add(start_ms, samples)
            return
        if self._spool is None:
            self._spool = Spool(self._folder)
        self._spool.add(start_ms, samples)

    def turns(self) -> list[Turn]:
        """See `Diarization.turns`."""
        try:
            if self._fallback is None and self._spool is not None:
                try:
                    found = self._find(self._spool.path, self._options)
                    return number_by_appearance(found or _one_speaker(self._spool))
                except EngineFailed:
                    logger.warning(
                        "%s failed on a recording; its speakers are told apart by a simpler method", self.name
                    )
                    self._fall_back(f"{self.name} failed on it")
            return self._fallback.turns() if self._fallback is not None else []
        finally:
            self._close()

    def _fall_back(self, reason: str) -> None:
        """Switch to the neural diarizer, beginning with all clips so far."""
        self._fallback = NeuralDiarizer().begin(options=self._options)
        self.name, self.boundary_tolerance_ms = self._fallback.name, self._fallback.boundary_tolerance_ms
        self.notes = (f"The speakers of this recording were told apart by a simpler method: {reason}.",)
        if self._spool is not None:
            for start_ms, samples in self._spool.clips():
                self._fallback.add(start_ms, samples)
        self._close()

    def _close(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None


def _one_speaker(spool: Spool) -> list[Turn]:
    """Return the clips as turns of one speaker, for a recording in which the model finds none but the engine words."""
    return [Turn(start_ms, end_ms, "S1") for start_ms, end_ms in spool.spans]


def _length(seconds: int) -> str:
    return f"{seconds // 60} minutes" if seconds >= 120 else f"{seconds} seconds"
