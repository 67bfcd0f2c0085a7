"""A recording as samples, decoded in a confined child: what `audio.windows` gives, without trusting the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transcription.speech import audio, children, errors
from transcription.speech.children import Limits
from transcription.speech.samples import BYTES_PER_SAMPLE, Samples, ms_to_samples

MEMORY_BYTES = 1024 * 1024 * 1024
# Decoding runs at hundreds of times the speed of speech; a tenth of it is a decoder gone astray.
MIN_CPU_SECONDS = 60
MIN_SPEED = 10
# A child that says nothing for so long hangs.
STALL_SECONDS = 60.0


def windows(
    path: Path | str,
    *,
    max_duration_ms: int,
    window_ms: int = audio.WINDOW_MS,
    channel: int | None = None,
    stall_seconds: float = STALL_SECONDS,
) -> Iterator[Samples]:
    """Yield what `audio.windows` yields, decoded in a child process that can harm nobody.

    Raises the same errors, and DecoderUnavailable; a child that crashes, stalls or exceeds its limits means NotAudio.
    The child ends with the iterator.
    """
    import numpy as np

    most = ms_to_samples(max_duration_ms + audio.LENGTH_SLACK_MS)
    how = {"max_duration_ms": max_duration_ms, "window_ms": window_ms, "channel": channel}
    with children.child("decode", path, stall_seconds=stall_seconds, **how) as child:
        for block in child.blocks():
            most -= len(block) // BYTES_PER_SAMPLE
            if most < 0 or len(block) % BYTES_PER_SAMPLE:
                raise errors.NotAudio  # the child ends itself before: the file has taken it over
            yield np.frombuffer(block, dtype=np.float32)


def limits(*, max_duration_ms: int, **_: Any) -> Limits:
    """Return what a decoding child may use."""
    cpu_seconds = max(MIN_CPU_SECONDS, max_duration_ms // 1000 // MIN_SPEED)
    return Limits(memory_bytes=MEMORY_BYTES, cpu_seconds=cpu_seconds)


def handle(recording: int, *, send: Callable[[memoryview], None], **how: Any) -> dict[str, Any]:
    """Be the decoding child: send the windows, and answer nothing."""
    for window in audio.windows(recording, **how):
        send(window.data)
    return {}
