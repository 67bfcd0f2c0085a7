"""PocketSphinx 5.1, an English engine that works on any machine, since its wheel contains its model (31 MB).

It is the fallback without a Whisper model: about 8 times faster than real time on one core, much less accurate than
Whisper, and every result says so. It holds the interpreter's lock while it searches (0.84 s for 7 s of speech), which
blocks all other threads of the process, so its clips are short.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from transcription.speech.engines.base import Recognition, check_languages
from transcription.speech.errors import EngineFailed, EngineUnavailable
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import SAMPLE_RATE, Samples, samples_to_ms
from transcription.speech.transcript import Word

FRAME_MS = 10
# Two steps of 16-bit audio.
SILENT_BELOW = 2 / 32768
_ALTERNATE = re.compile(r"\(\d+\)$")  # "the(2)": the dictionary's second pronunciation
_FILLER = re.compile(r"^(<.*>|\[.*\]|\+\+.*\+\+)$")  # <s>, <sil>, [SPEECH], [NOISE], ++um++


class PocketSphinxEngine:
    """Implements `engines.base.Engine` on one CPU core. Not safe for threads."""

    name = "pocketsphinx"
    languages: frozenset[str] | None = frozenset({"en"})
    max_clip_ms = 15_000
    pause_ms = 400
    packed_ms = 0
    supported_options: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ("Test engine (PocketSphinx): low accuracy, English only.",)

    def __init__(self) -> None:
        """Look for the model. Raises EngineUnavailable if it is not there.

        It takes 0.3 s and 85 MB to load, and Whisper mostly comes before a clip does. So the first clip waits.
        """
        import pocketsphinx

        if not Path(pocketsphinx.get_model_path("en-us/en-us.lm.bin")).is_file():
            raise EngineUnavailable("The model of PocketSphinx is missing.")

    @cached_property
    def _decoder(self) -> Any:
        import pocketsphinx

        try:
            # "batch" computes cepstral means over each clip. The default ("live") carries them from clip to clip, so
            # that earlier clips would change the words.
            return pocketsphinx.Decoder(samprate=SAMPLE_RATE, cmn="batch", loglevel="FATAL")
        except (RuntimeError, ValueError, OSError) as error:
            raise EngineUnavailable("The PocketSphinx model could not be loaded.") from error

    def recognise(self, clips: Sequence[Samples], *, options: TranscriptionOptions) -> list[Recognition]:
        """See `Engine.recognise`. Ignores prompt and hotwords. The language is always "en"; it detects none."""
        check_languages(options, languages=self.languages, engine=self.name)
        return [Recognition(words=self._words(clip), language="en") for clip in clips]

    def _reset(self) -> None:
        """Reset what the decoder has learned from earlier clips.

        Without this, a clip gave the same words and probabilities after another clip in 1 of 15 tries; with it, in 15.
        The binding deprecates the call as unnecessary, which is true for one endless stream only.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._decoder.start_stream()

    def _words(self, clip: Samples) -> tuple[Word, ...]:
        import numpy as np

        if not len(clip) or np.abs(clip).max() < SILENT_BELOW:
            return ()  # it recognises "i'm" in digital silence
        pcm = (np.clip(clip, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        try:
            self._reset()
            self._decoder.start_utt()
            try:
                # The whole clip in one call: only then are the means computed over this clip alone.
                self._decoder.process_raw(pcm, full_utt=True)
            finally:
                self._decoder.end_utt()
            segments = list(self._decoder.seg() or ()) if self._decoder.hyp() is not None else []
        except RuntimeError as error:
            raise EngineFailed from error
        last_ms = samples_to_ms(len(clip))
        return tuple(
            Word(
                text=_ALTERNATE.sub("", segment.word),
                start_ms=min(segment.start_frame * FRAME_MS, last_ms),
                end_ms=min((segment.end_frame + 1) * FRAME_MS, last_ms),
                probability=round(
                    min(1.0, max(0.0, segment.prob)), 4
                ),  # its table of logarithms can exceed 1 by 0.0002
            )
            for segment in segments
            if not _FILLER.match(segment.word)
        )
