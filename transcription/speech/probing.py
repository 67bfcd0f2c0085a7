"""Measures an untrusted file before a job is accepted: its length, format and channels.

`probe` reads packets and decodes few of them, to learn how long a packet is: containers round the lengths that they
state, or state none. Where the packets say nothing, all are decoded. The web process runs it in a confined child
(`probe_in_child`). PyAV is imported on use.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from transcription.speech import audio, children, demuxing, errors, hearing, opus
from transcription.speech.children import ZYGOTES, Limits, Zygotes
from transcription.speech.packet_meter import PacketMeter, decoded_frames
from transcription.speech.parts import Part

# 10 hours of video are about 4 million packets. A crafted file can have many more, of a few bytes each. A packet takes
# about 14 microseconds.
MAX_PACKETS = 12_000_000
PROBE_CPU_SECONDS = 200.0
PROBE_MEMORY_BYTES = 1 << 30
# A child that is busy inside a decoder or demuxer does not notice that its time is over. The kernel ends it so much
# later, in whole seconds.
GRACE_CPU_SECONDS = 1
# What counts is CPU time, because on a busy machine a child may wait for it. A child that blocks forever is ended by
# this multiple of its time, and a minute.
MAX_WALL_FACTOR = 10

# All packets of a doubtful file are decoded, for so long. Then its packets are believed after all, and the decoder has
# the last word.
MAX_COUNTING_CPU_SECONDS = 30.0

# The answer of a child whose time was over.
UNFINISHED = {"unfinished": True}


@dataclass(frozen=True, slots=True)
class AudioProbe:
    """The sound of a file: the length of all its parts, and the number of channels of all tracks together.

    format, codec and sample_rate are those of the first part's main track.
    """

    duration_ms: int
    format: str
    codec: str
    sample_rate: int
    channels: int


def probe(source: Path | str | int, *, max_duration_ms: int, may_be_truncated: bool = False) -> AudioProbe:
    """Measure a recording by reading its packets. Decodes few of them, if they are what they state.

    source: a path, or a descriptor, which is closed at the end.
    may_be_truncated: a file is measured although its header states more than it holds.
    The lengths of packets are added up, because headers are unreliable: a webm made by a browser states no length,
    and a crafted FLAC of half a megabyte holds hours. Stops when `max_duration_ms` is exceeded.
    Raises EmptyAudio, NoDuration, NotAudio, NoAudioTrack, TruncatedAudio or AudioTooLong.
    """
    total_ms = channels = 0
    first: tuple[str, str, int] | None = None
    with demuxing.open_file(source) as (_, parts):
        for part in parts:
            # The last of joined files may be cut off: the decoder reads it as far as it goes.
            try:
                found_ms, found = _measure(
                    part,
                    max_duration_ms=max_duration_ms - total_ms,
                    may_be_truncated=may_be_truncated or first is not None,
                )
            except errors.AudioTooLong:
                audio.raise_too_long(max_duration_ms)
            except errors.AudioError:
                if first is None:
                    raise
                continue  # the decoder's notes say so
            total_ms += found_ms
            channels = max(channels, found[3])
            first = first or found[:3]
    assert first is not None, "a file has at least one part"
    return AudioProbe(duration_ms=total_ms, format=first[0], codec=first[1], sample_rate=first[2], channels=channels)


def _measure(part: Part, *, max_duration_ms: int, may_be_truncated: bool) -> tuple[int, tuple[str, str, int, int]]:
    """Return (length in ms, (format, codec, sample rate, channels)) of one part of a file."""
    samples = opus.length_of_ogg(part)
    if samples is not None:
        found = _measure_by_pages(part, samples=samples, max_duration_ms=max_duration_ms)
        if found is not None:
            return found
        part.seek(0)
    try:
        return _measure_by_packets(part, max_duration_ms=max_duration_ms, may_be_truncated=may_be_truncated)
    except _Doubtful as doubt:
        part.seek(0)
        return _measure_by_decoding(
            part,
            max_duration_ms=max_duration_ms,
            otherwise_ms=doubt.packets_ms,
            may_be_truncated=may_be_truncated,
        )


def _measure_by_pages(
    part: Part, *, samples: int, max_duration_ms: int
) -> tuple[int, tuple[str, str, int, int]] | None:
    """Return the result of an Ogg part whose pages tell its samples, None if its first packets do not confirm it."""
    duration_ms = round(samples * 1000 / opus.SAMPLE_RATE)
    with demuxing.open_part(part) as opened:
        meter = PacketMeter(opened.streams[0], opened.timeline())
        for number, packet, start, seconds in opened.packets():
            if number or packet is None or meter.is_learned:
                break
            if packet.size:
                meter.add(packet, start, seconds)
        meter.end()
        if len(opened.container.streams) > 1 or not meter.is_decodable or meter.is_doubtful:
            return None
        if duration_ms > max_duration_ms + audio.LENGTH_SLACK_MS:
            audio.raise_too_long(max_duration_ms)
        return _result(opened, duration_ms=duration_ms, may_be_truncated=True)


class _Doubtful(Exception):
    """The packets do not tell how long they are. packets_ms: the length by what they state."""

    def __init__(self, packets_ms: int) -> None:
        super().__init__()
        self.packets_ms = packets_ms


def _measure_by_packets(
    part: Part, *, max_duration_ms: int, may_be_truncated: bool
) -> tuple[int, tuple[str, str, int, int]]:
    with demuxing.open_part(part) as opened:
        meters = [PacketMeter(stream, opened.timeline()) for stream in opened.streams]
        for number, packet, start, seconds in _limited(opened.packets()):
            if packet is None:
                meters[number].lose(seconds)
            elif packet.size:
                meters[number].add(packet, start, seconds)
                if meters[number].timeline.total_ms > max_duration_ms + audio.LENGTH_SLACK_MS:
                    audio.raise_too_long(max_duration_ms)
        for meter in meters:
            meter.end()
        is_decodable = any(meter.is_decodable for meter in meters)
        if not is_decodable and any(meter.packets for meter in meters):
            raise errors.NotAudio
        duration_ms = max(meter.timeline.total_ms for meter in meters if meter.is_decodable or not is_decodable)
        if any(meter.is_doubtful for meter in meters):
            raise _Doubtful(duration_ms)
        return _result(opened, duration_ms=duration_ms, may_be_truncated=may_be_truncated)


def _measure_by_decoding(
    part: Part, *, max_duration_ms: int, otherwise_ms: int, may_be_truncated: bool
) -> tuple[int, tuple[str, str, int, int]]:
    """Measure a part by decoding all of it, without converting the sound."""
    began = time.process_time()
    with demuxing.open_part(part) as opened:
        timelines = [opened.timeline() for _ in opened.streams]
        units: list[float | None] = [None] * len(timelines)  # seconds of one step of the frames' time stamps
        for number, packet, _, seconds in _limited(opened.packets()):
            if packet is None:
                timelines[number].skip(seconds)
                continue
            for frame in decoded_frames(packet):
                if frame.sample_rate:
                    unit = units[number]
                    if unit is None:
                        unit = units[number] = float(frame.time_base or 0)
                    start = frame.pts * unit if frame.pts is not None and unit else None
                    timelines[number].add(start, frame.samples / frame.sample_rate)
            if timelines[number].total_ms > max_duration_ms + audio.LENGTH_SLACK_MS:
                audio.raise_too_long(max_duration_ms)
            if time.process_time() - began > MAX_COUNTING_CPU_SECONDS:
                return _result(opened, duration_ms=otherwise_ms, may_be_truncated=may_be_truncated)
        return _result(
            opened,
            duration_ms=max(timeline.total_ms for timeline in timelines),
            may_be_truncated=may_be_truncated,
        )


def _limited(packets: Iterator[demuxing.Piece]) -> Iterator[demuxing.Piece]:
    for count, one in enumerate(packets):
        if count >= MAX_PACKETS:
            raise errors.NotAudio("The file is cut into too many pieces.")
        yield one


def _result(
    opened: demuxing.Source, *, duration_ms: int, may_be_truncated: bool
) -> tuple[int, tuple[str, str, int, int]]:
    """Return the result of a part. Raises TruncatedAudio and NoDuration."""
    declared_ms = demuxing.declared_ms(opened, duration_ms=duration_ms)
    if declared_ms and not may_be_truncated:
        raise errors.TruncatedAudio(
            f"The file is cut off: its header says {hearing.clock_time(declared_ms)}, and it holds "
            f"{hearing.clock_time(duration_ms)}.",
            declared_ms=declared_ms,
            found_ms=duration_ms,
        )
    if duration_ms == 0:
        raise errors.NoDuration
    context = opened.streams[0].codec_context
    return duration_ms, (opened.container.format.name, context.name, context.sample_rate, opened.channels)


class Unfinished(Exception):
    """The CPU time of the probe was not enough, or its child died. With more time the probe may succeed.

    `str` is a sentence for the sender of the file.
    """


def probe_in_child(
    path: Path | str, *, max_duration_ms: int, may_be_truncated: bool = False, zygotes: Zygotes = ZYGOTES
) -> AudioProbe:
    """Run `probe` in a confined child, so that a decoder that crashes or hangs does not affect this process.

    Raises the errors of `probe`, and DecoderUnavailable. Raises NotAudio also when PROBE_CPU_SECONDS are not enough,
    and when the child crashes, stalls or is compromised.
    """
    try:
        return probe_within(
            PROBE_CPU_SECONDS,
            path,
            max_duration_ms=max_duration_ms,
            may_be_truncated=may_be_truncated,
            zygotes=zygotes,
        )
    except Unfinished as error:
        raise errors.NotAudio(str(error)) from error


def probe_within(
    cpu_seconds: float,
    path: Path | str,
    *,
    max_duration_ms: int,
    may_be_truncated: bool = False,
    niceness: int = 0,
    zygotes: Zygotes = ZYGOTES,
) -> AudioProbe:
    """Run `probe` in a confined child that may use so much CPU time. See `probe_in_child`.

    niceness: added to the priority of this process. Raises Unfinished when the time was not enough, or the child
    crashes or stalls.
    """
    arguments = {
        "max_duration_ms": max_duration_ms,
        "may_be_truncated": may_be_truncated,
        "cpu_seconds": cpu_seconds,
        "niceness": niceness,
    }
    stall_seconds = 60 + MAX_WALL_FACTOR * cpu_seconds
    with children.child("probe", path, stall_seconds=stall_seconds, zygotes=zygotes, **arguments) as child:
        try:
            is_compromised = any(True for _ in child.blocks())  # a probe sends no blocks
        except errors.NotAudio as error:
            if child.has_ended_early:
                raise Unfinished(error.message) from error
            raise
        if is_compromised:
            raise errors.NotAudio
        if child.answer == UNFINISHED:
            raise Unfinished("The file takes too long to read.")
        return _checked(child.answer, max_duration_ms=max_duration_ms)


def _checked(answer: dict[str, Any], *, max_duration_ms: int) -> AudioProbe:
    """Return the answer of a child as a probe. Raises NotAudio for an answer that only a compromised child gives."""
    try:
        found = AudioProbe(**answer)
    except TypeError as error:
        raise errors.NotAudio from error
    numbers, texts = (found.duration_ms, found.sample_rate, found.channels), (found.format, found.codec)
    if not all(type(one) is int and one > 0 for one in numbers) or not all(isinstance(one, str) for one in texts):
        raise errors.NotAudio
    if found.duration_ms > max_duration_ms + audio.LENGTH_SLACK_MS:
        raise errors.NotAudio
    return found


def limits(*, cpu_seconds: float, **_: Any) -> Limits:
    """Return the resource limits of a probing child."""
    return Limits(memory_bytes=PROBE_MEMORY_BYTES, cpu_seconds=math.ceil(cpu_seconds) + GRACE_CPU_SECONDS)


def handle(recording: int, *, send: object, cpu_seconds: float, niceness: int = 0, **arguments: Any) -> dict[str, Any]:
    """Run in the child: return the probe as the answer, or `UNFINISHED`."""
    os.nice(niceness)
    try:
        with _limited_time(cpu_seconds):
            return asdict(probe(recording, **arguments))
    except _OutOfTime:
        return UNFINISHED


class _OutOfTime(BaseException):
    """Not an Exception: nothing between the alarm and `handle` may take it for a fault of the file."""


@contextmanager
def _limited_time(cpu_seconds: float) -> Iterator[None]:
    """Raise _OutOfTime in the block when this process has used so much CPU time.

    Between two instructions of Python: so the count of pages or packets costs nothing, wherever they are read.
    """

    def end(*_: object) -> NoReturn:
        raise _OutOfTime

    signal.signal(signal.SIGPROF, end)
    # Again and again, since PyAV may lose an exception that is raised while libav calls Python to read the file.
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds, 0.05)
    try:
        yield
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
