"""Decodes an untrusted audio file into windows of bounded size.

Every file is treated as hostile. It is opened through a Python file object, only by demuxers of audio formats, and
without a way to open another file or address. Its statements about its own length are not trusted. Run this in a
confined child only (`decode`, `probing`). PyAV and numpy are imported on use.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from transcription.speech import containers, errors
from transcription.speech.samples import SAMPLE_RATE, Samples, ms_to_samples

logger = logging.getLogger(__name__)

WINDOW_MS = 30_000

# Decoding may give this much more than the probe measured (encoder padding, a last partial packet).
LENGTH_SLACK_MS = 1_000
# A gap between timestamps is filled with silence, so that times agree with those of a player. Smaller gaps are rounding
# errors; larger ones are more likely a broken clock than a pause.
MIN_GAP_MS = 50
MAX_GAP_MS = 600_000

# If so many packets fail at the start, the file counts as no audio.
MAX_BAD_PACKETS_AT_START = 100
SAMPLE_RATES = range(1_000, 768_001)
MAX_CHANNELS = 64


class _NamelessFile:
    """Hides the name of a file from libav, so that its extension cannot choose the demuxer."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def _refuse_to_open(url: str, *_: Any) -> NoReturn:
    """Refuse to open a second file or address. Attack: a playlist that names files or hosts of the server."""
    raise PermissionError(f"not opened: {url[:80]!r}")


@contextmanager
def open_track(source: Path | str | int) -> Iterator[tuple[Any, Any, BinaryIO]]:
    """Yield (container, first audio stream, file). Raises EmptyAudio, NotAudio or NoAudioTrack.

    source: a path, or a descriptor, which is closed at the end.
    """
    import av

    av.logging.set_level(None)  # libav would print untrusted metadata to our log
    with open(source, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        containers.refuse_foreign(file)
        try:
            container = av.open(
                _NamelessFile(file),
                mode="r",
                options={"protocol_whitelist": "pipe", "format_whitelist": ",".join(containers.DEMUXERS)},
                io_open=_refuse_to_open,
                buffer_size=1 << 18,
                metadata_errors="replace",
            )
        except (av.FFmpegError, ValueError, OSError, MemoryError, EOFError) as error:
            raise errors.NotAudio from error
        with container:
            if container.format.name not in containers.DEMUXERS:
                raise errors.NotAudio
            if not container.streams.audio:
                raise errors.NoAudioTrack
            stream = container.streams.audio[0]
            _check_stream(stream)
            yield container, stream, file


def _check_stream(stream: Any) -> None:
    """Raise NotAudio for a track without a decoder, or with an impossible sample rate or number of channels."""
    context = stream.codec_context
    if context is None:
        raise errors.NotAudio("The audio track uses a codec that we cannot read.")
    if context.sample_rate not in SAMPLE_RATES or not 1 <= context.channels <= MAX_CHANNELS:
        raise errors.NotAudio("The audio track states an impossible sample rate or number of channels.")
    context.thread_count = 1  # the other cores are for the engine


def windows(
    source: Path | str | int, *, max_duration_ms: int, window_ms: int = WINDOW_MS, channel: int | None = None
) -> Iterator[Samples]:
    """Yield the recording as consecutive float32 arrays, 16 kHz mono, -1 to 1, `window_ms` long (the last: less).

    source: a path, or a descriptor, which is closed at the end.
    channel: number of the channel to decode, from 0; None mixes all channels. Where a part of the recording lacks the
    channel, that part is silent.

    The lengths add up to the decoded duration. At most one window and one frame are in memory. Corrupt packets are
    skipped. A gap between timestamps becomes silence.
    Raises AudioTooLong while decoding, NotAudio when nothing decodes, NoDuration when there are no samples.
    """
    import numpy as np

    size = ms_to_samples(window_ms)
    limit = ms_to_samples(max_duration_ms + LENGTH_SLACK_MS)
    kept: list[Samples] = []
    kept_count = total = 0
    for piece in _decoded(source, channel=channel):
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


def _decoded(source: Path | str | int, *, channel: int | None) -> Iterator[Samples]:
    """Yield non-empty 16 kHz mono float32 arrays of varying length, one or more per frame."""
    import numpy as np

    with open_track(source) as (container, stream, _):
        resampler = _Resampler(channel=channel)
        timeline = Timeline()
        for frame in _frames(container, stream):
            gap_ms = timeline.add(frame.pts, frame.samples, frame.time_base, rate=frame.sample_rate)
            while gap_ms > 0:  # in parts, so that a long gap does not become one large array
                part_ms = min(gap_ms, WINDOW_MS)
                yield np.zeros(ms_to_samples(part_ms), dtype=np.float32)
                gap_ms -= part_ms
            yield from resampler.feed(frame)
        yield from resampler.flush()


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Yield decoded audio frames; packets that do not decode are skipped. Raises NotAudio when no packet decodes."""
    import av

    decoded = bad = 0
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed)
        except StopIteration:
            break
        except (av.FFmpegError, EOFError, ValueError, MemoryError) as error:
            logger.info("decoding stopped early: %s", type(error).__name__)
            break
        try:
            frames = packet.decode()
        except (av.FFmpegError, EOFError, ValueError, MemoryError):
            bad += 1
            if not decoded and bad > MAX_BAD_PACKETS_AT_START:
                break
            continue
        for frame in frames:
            decoded += 1
            yield frame
    if bad and not decoded:
        raise errors.NotAudio


class _Resampler:
    """Converts any frames to 16 kHz mono float32. Starts over when the format changes in the middle of a stream."""

    def __init__(self, *, channel: int | None = None) -> None:
        self._channel = channel
        self._resampler: Any = None
        self._source: tuple[Any, ...] = ()

    def feed(self, frame: Any) -> Iterator[Samples]:
        """Yield the samples that the frame completes. Raises NotAudio for a channel layout that cannot be mixed."""
        import av

        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source != self._source:
            yield from self.flush()
            layout = "mono" if self._channel is None else frame.layout
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=SAMPLE_RATE)
            self._source = source
        frame.pts = None  # `Timeline` fills the gaps; the resampler must not fill them again
        yield from self._convert(frame)

    def flush(self) -> Iterator[Samples]:
        """Yield the samples that are still in the filter."""
        if self._resampler is not None:
            yield from self._convert(None)
        self._resampler = None

    def _convert(self, frame: Any) -> Iterator[Samples]:
        import av
        import numpy as np

        try:
            converted = self._resampler.resample(frame)
        except (av.FFmpegError, ValueError) as error:
            raise errors.NotAudio("The audio track has a channel layout that we cannot read.") from error
        for one in converted:
            planes = one.to_ndarray()  # (channels, samples)
            number = self._channel or 0
            samples = planes[number] if number < len(planes) else np.zeros(planes.shape[1])
            samples = samples.astype(np.float32, copy=False)
            if len(samples):
                # Float formats may contain NaN, infinity or values beyond 1, which must not reach a model.
                yield np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)


class Timeline:
    """Adds up the length of packets or frames as a player does: their durations, and plausible gaps between them."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._expected: float | None = None

    @property
    def total_ms(self) -> int:
        return round(self._seconds * 1000)

    def add(self, pts: int | None, length: int, time_base: Any, *, rate: int | None = None) -> int:
        """Add one packet or frame and return the gap before it in milliseconds (0: none).

        length: in units of `time_base`, or in samples when `rate` is given.
        """
        seconds = max(0.0, length / rate if rate else length * float(time_base or 0))
        gap_ms = 0
        if pts is not None and time_base:
            start = pts * float(time_base)
            expected = self._expected if self._expected is not None else 0.0
            jump_ms = round((start - expected) * 1000)
            if MIN_GAP_MS <= jump_ms <= MAX_GAP_MS:
                gap_ms = jump_ms
            self._expected = start + seconds
        elif self._expected is not None:
            self._expected += seconds
        self._seconds += seconds + gap_ms / 1000
        return gap_ms


def raise_too_long(max_duration_ms: int) -> NoReturn:
    """Raise AudioTooLong with a message that names the allowed length."""
    seconds = max_duration_ms / 1000
    size, unit = next((one for one in ((3600, "hour"), (60, "minute")) if seconds >= one[0]), (1, "second"))
    length = f"{seconds / size:.4g} {unit}" + ("" if seconds == size else "s")
    raise errors.AudioTooLong(f"The recording is longer than {length}.", max_duration_ms=max_duration_ms)
