"""The whole journey: a file, an engine and a diarizer in, a transcript out.

Everything streams: a long file costs time, not memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transcription.speech import audio, cutting, speakers
from transcription.speech.diarizers.base import Diarization, Diarizer
from transcription.speech.engines.base import Engine, Recognition, check_language
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Transcript, Word

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

# Clips are sent this many at a time, or this much speech: enough to fill a batch, little enough to hold and to cancel.
BATCH_CLIPS = 8
BATCH_MS = 120_000


def run(
    path: Path | str,
    *,
    options: TranscriptionOptions,
    engine: Engine,
    diarizer: Diarizer | None,
    max_duration_ms: int,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Transcript:
    """Transcribe one recording.

    diarizer: None, or `options.diarize` off, leaves the words without speakers.
    max_duration_ms: AudioTooLong as soon as decoding passes it, whatever the file says of itself.
    on_progress: called with the milliseconds that are done, never falling; what it raises ends the run.
    Returns a transcript without segments when nobody speaks. Raises AudioError, UnknownLanguage or EngineError.
    """
    check_language(options.language, languages=engine.languages, engine=engine.name)
    diarization = diarizer.begin(options=options) if diarizer is not None and options.diarize else None
    journey = _Journey(options=options, engine=engine, diarization=diarization, on_progress=on_progress)
    windows = journey.counted(audio.windows(path, max_duration_ms=max_duration_ms))
    for clip in cutting.clips(windows, max_clip_ms=engine.max_clip_ms, pause_ms=engine.pause_ms):
        journey.take(clip)
    journey.recognise()
    words = journey.words
    if diarization is not None and words:
        words = speakers.assign(words, diarization.turns())
    language, language_probability = journey.language()
    journey.tell(journey.decoded_ms)
    return Transcript(
        language=language,
        language_probability=language_probability,
        duration_ms=journey.decoded_ms,
        segments=speakers.segments(words, language=language),
        engine=engine.name,
        diarizer=diarizer.name if diarization is not None and diarizer is not None else None,
        notes=engine.notes + _ignored(options, engine=engine),
    )


class _Journey:
    """What is known of one recording so far."""

    def __init__(
        self,
        *,
        options: TranscriptionOptions,
        engine: Engine,
        diarization: Diarization | None,
        on_progress: Callable[[int], None],
    ) -> None:
        self._options, self._engine = options, engine
        self._diarization = diarization
        self._on_progress = on_progress
        self._waiting: list[cutting.Clip] = []
        self._heard: list[tuple[int, Recognition]] = []  # (length of the clip in ms, what was heard)
        self._decoded_samples = 0
        self._told_ms = 0
        self.words: list[Word] = []

    @property
    def decoded_ms(self) -> int:
        return round(self._decoded_samples * 1000 / audio.SAMPLE_RATE)

    def counted(self, windows: Iterator[Samples]) -> Iterator[Samples]:
        """Pass the windows on, counting them and telling how far we are."""
        for window in windows:
            yield window
            self._decoded_samples += len(window)
            self.tell(self._waiting[0].start_ms if self._waiting else self.decoded_ms)

    def tell(self, done_ms: int) -> None:
        """Report progress; a clip that began before the last report must not make it fall."""
        self._told_ms = max(self._told_ms, done_ms)
        self._on_progress(self._told_ms)

    def take(self, clip: cutting.Clip) -> None:
        self._waiting.append(clip)
        waiting_ms = sum(one.end_ms - one.start_ms for one in self._waiting)
        if len(self._waiting) >= BATCH_CLIPS or waiting_ms >= BATCH_MS:
            self.recognise()

    def recognise(self) -> None:
        """Send the waiting clips to the engine and keep what comes back."""
        if not self._waiting:
            return
        clips, self._waiting = self._waiting, []
        heard = self._engine.recognise([clip.samples for clip in clips], options=self._options)
        for clip, recognition in zip(clips, heard, strict=True):
            self._heard.append((clip.end_ms - clip.start_ms, recognition))
            self.words.extend(_placed(recognition.words, clip))
            if self._diarization is not None and recognition.words:
                self._diarization.add(clip.start_ms, clip.samples)
        self.tell(clips[-1].end_ms)

    def language(self) -> tuple[str | None, float | None]:
        """Return (the language of most speech, the mean probability where the engine gave one)."""
        lengths: dict[str, int] = {}
        for length_ms, heard in self._heard:
            if heard.language is not None and heard.words:
                lengths[heard.language] = lengths.get(heard.language, 0) + length_ms
        if not lengths:
            return (self._options.language if self.words else None), None
        language = max(lengths, key=lambda one: lengths[one])
        given = [
            (length_ms, heard.language_probability)
            for length_ms, heard in self._heard
            if heard.language == language and heard.language_probability is not None
        ]
        total_ms = sum(length_ms for length_ms, _ in given)
        if not total_ms:
            return language, None
        return language, round(sum(length_ms * probability for length_ms, probability in given) / total_ms, 4)


def _placed(words: tuple[Word, ...], clip: cutting.Clip) -> list[Word]:
    """Return the words with times in the recording, kept inside the clip."""
    return [
        replace(
            word,
            start_ms=min(clip.start_ms + max(0, word.start_ms), clip.end_ms),
            end_ms=min(clip.start_ms + max(0, word.start_ms, word.end_ms), clip.end_ms),
        )
        for word in words
    ]


def _ignored(options: TranscriptionOptions, *, engine: Engine) -> tuple[str, ...]:
    """Return a sentence for each thing asked for that was not done."""
    notes = []
    if options.prompt and "prompt" not in engine.honours:
        notes.append(f"The prompt was ignored: {engine.name} takes none.")
    if options.hotwords and "hotwords" not in engine.honours:
        notes.append(f"The hotwords were ignored: {engine.name} takes none.")
    if options.task == "translate" and "translate" not in engine.honours:
        notes.append(f"Nothing was translated: {engine.name} cannot.")
    if options.channels == "split":
        notes.append("The channels were mixed: transcribing them apart is not available yet.")
    return tuple(notes)
