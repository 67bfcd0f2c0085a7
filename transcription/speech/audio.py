"""Decodes an untrusted audio file into windows of bounded size.

A file's statements about its own length are not trusted. Run this in a confined child only (`decode`, `probing`). numpy
is imported on use. Decision 26 says how the channels of all tracks are mixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from transcription.speech import demuxing, errors, hearing, tracks
from transcription.speech.mixing import Limiter, Mixer
from transcription.speech.samples import SAMPLE_RATE, Samples, ms_to_samples

WINDOW_MS = 30_000

# Decoding may give this much more than the probe measured (encoder padding, a last partial packet).
LENGTH_SLACK_MS = 1_000
# Two channels that are this alike carry the same sound.
MIN_SAME_CORRELATION = 0.95


def windows(
    source: Path | str | int,
    *,
    max_duration_ms: int,
    window_ms: int = WINDOW_MS,
    channel: int | None = None,
    facts: list[hearing.Fact] | None = None,
) -> Iterator[Samples]:
    """Yield the recording as consecutive float32 arrays, 16 kHz mono, -1 to 1, `window_ms` long (the last: less).

    source: a path, or a descriptor, which is closed at the end.
    channel: number of the channel to decode, from 0, counted through all tracks; None mixes all channels. Where a part
    of the recording lacks the channel, that part is silent.
    facts: at the end, what was not heard is added to it.

    The lengths add up to the decoded duration. At most one window and some seconds of frames are in memory. Corrupt
    packets are skipped. A gap between timestamps becomes silence.
    Raises AudioTooLong while decoding, NotAudio when nothing decodes, NoDuration when there are no samples.
    """
    import numpy as np

    size = ms_to_samples(window_ms)
    limit = ms_to_samples(max_duration_ms + LENGTH_SLACK_MS)
    kept: list[Samples] = []
    kept_count = total = 0
    for piece in _decoded(source, channel=channel, facts=facts if facts is not None else []):
        total += len(piece)
        if total > limit:
            raise_too_long(max_duration_ms)
        kept.append(piece)
        kept_count += len(piece)
        if kept_count >= size:
            joined = np.concatenate(kept)
            while len(joined) >= size:
                yield joined[:size].copy()
                joined = joined[size:]
            kept, kept_count = [joined.copy()], len(joined)
    if total == 0:
        raise errors.NoDuration
    if kept_count:
        yield np.concatenate(kept)


def peaks(path: Path | str, *, max_duration_ms: int, count: int = 1000) -> list[int]:
    """Return the data of a waveform drawing: at most `count` peaks from 0 to 100, evenly spread over the recording."""
    import numpy as np

    per_tenth: list[float] = []
    step = ms_to_samples(100)
    for window in windows(path, max_duration_ms=max_duration_ms):
        padded = np.pad(np.abs(window), (0, -len(window) % step))
        per_tenth.extend(padded.reshape(-1, step).max(axis=1).tolist())
    groups = np.array_split(np.asarray(per_tenth), min(count, len(per_tenth)))
    return [min(100, round(float(group.max()) * 100)) for group in groups]


def _decoded(source: Path | str | int, *, channel: int | None, facts: list[hearing.Fact]) -> Iterator[Samples]:
    """Yield non-empty 16 kHz mono float32 arrays of varying length."""
    mixer, limiter = Mixer(), Limiter()
    likeness = _Likeness(channel) if channel else None
    decoded = 0
    with demuxing.open_file(source) as (_, parts):
        for number, part in enumerate(parts):
            try:
                with demuxing.open_part(part) as opened:
                    for block in tracks.aligned(opened, facts=facts, before=decoded):
                        decoded += block[0].shape[1]
                        if channel is None:
                            yield limiter.limit(mixer.mix(block))
                        else:
                            one = _channel(block, channel, layout=opened.streams)
                            if likeness is not None:
                                likeness.add(_channel(block, 0, layout=opened.streams), one)
                            yield limiter.limit(one)
            except errors.AudioError:
                if number == 0:
                    raise
                facts.append(hearing.Fact("stopped", at_ms=decoded * 1000 // SAMPLE_RATE))
    if likeness is not None:
        facts.extend(likeness.facts())


def _channel(block: list[Samples], channel: int, *, layout: list[Any]) -> Samples:
    """Return one channel, counted through the tracks; silence where it is missing."""
    import numpy as np

    for rows, stream in zip(block, layout, strict=True):
        stated = stream.codec_context.channels
        if channel < stated:
            return rows[channel] if channel < len(rows) else np.zeros(rows.shape[1], dtype=np.float32)
        channel -= stated
    return np.zeros(block[0].shape[1], dtype=np.float32)


class _Likeness:
    """Compares a channel with the first one, over the whole recording."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._product = self._first = self._other = 0.0

    def add(self, first: Samples, other: Samples) -> None:
        import numpy as np

        self._product += float(np.dot(first, other))
        self._first += float(np.dot(first, first))
        self._other += float(np.dot(other, other))

    def facts(self) -> list[hearing.Fact]:
        scale = (self._first * self._other) ** 0.5
        is_same = scale > 0 and abs(self._product) / scale >= MIN_SAME_CORRELATION
        return [hearing.Fact("same_channel", count=self._channel + 1)] if is_same else []


def raise_too_long(max_duration_ms: int) -> NoReturn:
    """Raise AudioTooLong with a message that names the allowed length."""
    seconds = max_duration_ms / 1000
    size, unit = next((one for one in ((3600, "hour"), (60, "minute")) if seconds >= one[0]), (1, "second"))
    length = f"{seconds / size:.4g} {unit}" + ("" if seconds == size else "s")
    raise errors.AudioTooLong(f"The recording is longer than {length}.", max_duration_ms=max_duration_ms)
