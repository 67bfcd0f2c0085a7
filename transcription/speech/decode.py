"""Decodes a recording in a confined child process: the safe way to `audio.windows`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transcription.speech import audio, children, errors, hearing
from transcription.speech.children import ZYGOTES, Limits, Zygotes
from transcription.speech.samples import BYTES_PER_SAMPLE, Samples, ms_to_samples

MEMORY_BYTES = 1024 * 1024 * 1024
# Decoding runs at hundreds of times real time. A decoder slower than 10 times real time is stuck.
MIN_CPU_SECONDS = 60
MIN_SPEED = 10
# A child that sends nothing for this long counts as stuck.
STALL_SECONDS = 60.0


def windows(
    path: Path | str,
    *,
    max_duration_ms: int,
    window_ms: int = audio.WINDOW_MS,
    channel: int | None = None,
    stall_seconds: float = STALL_SECONDS,
    facts: list[hearing.Fact] | None = None,
    zygotes: Zygotes = ZYGOTES,
) -> Iterator[Samples]:
    """Yield what `audio.windows` yields, decoded in a confined child process.

    facts: at the end, what was not heard is added to it.
    Raises the errors of `audio.windows`, and DecoderUnavailable. Raises NotAudio when the child crashes, stalls or
    exceeds its limits. The child ends with the iterator.
    """
    import numpy as np

    samples_left = ms_to_samples(max_duration_ms + audio.LENGTH_SLACK_MS)
    arguments = {"max_duration_ms": max_duration_ms, "window_ms": window_ms, "channel": channel}
    with children.child("decode", path, stall_seconds=stall_seconds, zygotes=zygotes, **arguments) as child:
        for block in child.blocks():
            samples_left -= len(block) // BYTES_PER_SAMPLE
            if samples_left < 0 or len(block) % BYTES_PER_SAMPLE:
                raise errors.NotAudio  # an honest child would have stopped before: it is compromised
            yield np.frombuffer(block, dtype=np.float32)
        if facts is not None:
            try:
                facts.extend(hearing.from_answer(child.answer.get("facts")))
            except ValueError as error:
                raise errors.NotAudio from error  # it is compromised


def limits(*, max_duration_ms: int, **_: Any) -> Limits:
    """Return the resource limits of a decoding child."""
    cpu_seconds = max(MIN_CPU_SECONDS, max_duration_ms // 1000 // MIN_SPEED)
    return Limits(memory_bytes=MEMORY_BYTES, cpu_seconds=cpu_seconds)


def handle(recording: int, *, send: Callable[[memoryview], None], **arguments: Any) -> dict[str, Any]:
    """Run in the child: send the windows. The answer says what was not heard."""
    facts: list[hearing.Fact] = []
    for window in audio.windows(recording, facts=facts, **arguments):
        send(window.data)
    return {"facts": [fact.to_dict() for fact in facts[: hearing.MAX_FACTS]]}
