"""Runs the pipeline with options by their names."""

from __future__ import annotations

from transcription.speech import pipeline
from transcription.speech.options import TranscriptionOptions


def run(
    path,
    *,
    engine,
    diarizer=None,
    max_duration_ms=3_600_000,
    on_progress=lambda _: None,
    on_segments=lambda _: None,
    **options,
):
    return pipeline.run(
        path,
        options=TranscriptionOptions(**options),
        engine=engine,
        diarizer=diarizer,
        max_duration_ms=max_duration_ms,
        on_progress=on_progress,
        on_segments=on_segments,
    )
