"""Diarization by pyannote.audio 4 (extra `gpu`): neural, finds overlapping speech, runs in the engine process.

The checkpoints of a pipeline are pickles, which run code when they are loaded. So only operators may name a pipeline.
This module reads no settings and can be imported without torch.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from transcription.speech.diarizers import spool
from transcription.speech.diarizers.full_recording import FullRecordingDiarizer
from transcription.speech.errors import EngineFailed, EngineUnavailable, Stopped
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import SAMPLE_RATE, Samples, samples_to_ms
from transcription.speech.transcript import Turn

logger = logging.getLogger(__name__)

NAME = "pyannote"
DEFAULT_PIPELINE = "pyannote/speaker-diarization-community-1"
# GPU memory grows with the recording: 9.5 GB were reported for 72 minutes, so 90 minutes need about 12 GB.
MAX_SECONDS = 90 * 60
# One second: shorter recordings do not contain enough speech for one speaker embedding.
MIN_SAMPLES = SAMPLE_RATE


class PyannotePipeline:
    """A loaded pipeline. It processes one recording at a time; a second caller waits.

    name: a folder with a config.yaml (with "$model/..." paths it needs no network), or a name on the Hugging Face hub.
    token: for Hugging Face, for pipelines that need one. device: torch's name; None means a GPU if there is one.
    Raises EngineUnavailable when it cannot be loaded.
    """

    def __init__(self, name: str = DEFAULT_PIPELINE, *, token: str | None = None, device: str | None = None) -> None:
        # pyannote reads this at every call. By default it sends durations and numbers of speakers to its makers.
        os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        try:
            import torch
            from pyannote.audio import Pipeline
        except (ImportError, OSError) as error:  # OSError: builds of torch and torchaudio that do not match
            raise EngineUnavailable("pyannote.audio cannot be imported: see docs/operations.md.") from error
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._pipeline: Any = Pipeline.from_pretrained(name, token=token or None)
            if self._pipeline is not None:
                self._pipeline.to(torch.device(self.device))
        except Exception as error:  # whatever pyannote, torch and the hub raise
            raise EngineUnavailable(f"The pipeline {name!r} could not be loaded.") from error
        if self._pipeline is None:  # pyannote returns None for a gated pipeline without a valid token
            raise EngineUnavailable(f"The pipeline {name!r} cannot be had: is VOXSITE_HF_TOKEN right?")
        self._lock = threading.Lock()
        logger.info("pyannote %s is ready on %s", name, self.device)

    def find_in(
        self, path: Path, options: TranscriptionOptions, should_stop: Callable[[], bool] = lambda: False
    ) -> list[Turn]:
        """Return the turns of a spool file (see `diarizers.spool`). Raises EngineFailed, and Stopped on request."""
        try:
            samples = spool.read(path)
        except OSError as error:
            raise EngineFailed("The recording to diarize is not there any more.") from error
        return self.find(samples, options, should_stop)

    def find(
        self, samples: Samples, options: TranscriptionOptions, should_stop: Callable[[], bool] = lambda: False
    ) -> list[Turn]:
        """Return the turns, sorted, inside the recording, with pyannote's names of speakers. Raises EngineFailed.

        should_stop: called between steps and between the batches of a step. Stopped is raised when it returns true.
        pyannote's clustering step takes a few seconds and cannot be interrupted.
        The number of speakers follows `options.speaker_bounds`; short recordings may have fewer.
        """
        import torch

        if len(samples) < MIN_SAMPLES:
            return []
        recording = {"waveform": torch.from_numpy(samples).unsqueeze(0), "sample_rate": SAMPLE_RATE, "uri": "recording"}
        minimum, maximum = options.speaker_bounds
        bounds = {"num_speakers": minimum} if minimum == maximum else {"min_speakers": minimum, "max_speakers": maximum}

        def check_stop(*_: Any, **__: Any) -> None:
            if should_stop():
                raise Stopped

        with self._lock:
            try:
                check_stop()
                # The hook is meant for progress reports; an exception in it ends the call.
                output = self._pipeline(recording, hook=check_stop, **bounds)
            except Stopped:
                logger.info("stopped on a recording of %d s", len(samples) // SAMPLE_RATE)
                raise
            except Exception as error:  # whatever the cause, clustering can be used instead
                logger.exception("pyannote failed on %d s", len(samples) // SAMPLE_RATE)
                raise EngineFailed from error
            finally:
                if self.device.startswith("cuda"):
                    torch.cuda.empty_cache()  # the recogniser uses the same GPU
        return turns_of(output, duration_ms=samples_to_ms(len(samples)))


class PyannoteDiarizer(FullRecordingDiarizer):
    """pyannote in this process, for `script/evaluate` and tests. Workers use the engine process instead."""

    def __init__(
        self,
        pipeline: str = DEFAULT_PIPELINE,
        *,
        token: str | None = None,
        device: str | None = None,
        max_seconds: int = MAX_SECONDS,
    ) -> None:
        loaded = PyannotePipeline(pipeline, token=token, device=device)
        super().__init__(NAME, find=loaded.find_in, max_seconds=max_seconds)


def turns_of(output: Any, *, duration_ms: int) -> list[Turn]:
    """Return the output of a pipeline as turns, sorted, with its names of speakers.

    output: `DiarizeOutput` of pyannote.audio 4: all speakers, and the dominant speaker at any time. Speech of a speaker
    who is not dominant becomes a background turn. A pipeline in legacy mode returns an annotation alone, whose overlaps
    are kept.
    """
    everybody = _spans(getattr(output, "speaker_diarization", output), duration_ms=duration_ms)
    dominant = getattr(output, "exclusive_speaker_diarization", None)
    if dominant is None:
        return sorted((Turn(*span) for span in everybody), key=_by_time)
    in_front = _spans(dominant, duration_ms=duration_ms)
    turns = [Turn(*span) for span in in_front]
    for start_ms, end_ms, speaker in everybody:
        own = [(start, end) for start, end, name in in_front if name == speaker and start < end_ms and end > start_ms]
        turns += [Turn(*rest, speaker, is_background=True) for rest in _without(start_ms, end_ms, own)]
    return sorted(turns, key=_by_time)


def _spans(annotation: Any, *, duration_ms: int) -> list[tuple[int, int, str]]:
    """Return an `Annotation` of pyannote.core as (start_ms, end_ms, speaker), sorted.

    Spans are cut to the recording, since the model's last window may extend beyond it.
    """
    spans = [
        (max(0, round(segment.start * 1000)), min(duration_ms, round(segment.end * 1000)), str(speaker))
        for segment, _, speaker in annotation.itertracks(yield_label=True)
    ]
    return [span for span in spans if span[0] < span[1]]


def _without(start_ms: int, end_ms: int, taken: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts of a stretch outside of `taken`, which is sorted and without overlaps."""
    left = []
    for start, end in taken:
        if start > start_ms:
            left.append((start_ms, start))
        start_ms = max(start_ms, end)
    return [*left, (start_ms, end_ms)] if start_ms < end_ms else left


def _by_time(turn: Turn) -> tuple[int, int]:
    return turn.start_ms, turn.end_ms
