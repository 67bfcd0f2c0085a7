"""Measures an untrusted file before a job is accepted: its length, format and channels.

`probe` reads packets and decodes almost nothing. The web process runs it in a confined child (`probe_in_child`).
PyAV is imported on use.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from transcription.speech import audio, children, containers, errors
from transcription.speech.children import Limits

logger = logging.getLogger(__name__)

# A header may state this much more than the file holds (the larger of both) before the file counts as truncated.
TRUNCATION_SLACK_MS = 500
TRUNCATION_SLACK_PERCENT = 2
# 10 hours of video are about 4 million packets. A crafted file can have many more, of a few bytes each.
MAX_PACKETS = 12_000_000
PROBE_CPU_SECONDS = 50
PROBE_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class AudioProbe:
    """The first audio track of a file, measured by counting its packets."""

    duration_ms: int
    format: str
    codec: str
    sample_rate: int
    channels: int


def probe(source: Path | str | int, *, max_duration_ms: int) -> AudioProbe:
    """Measure a recording by reading its packets. Decodes only until the first packet gives sound.

    source: a path, or a descriptor, which is closed at the end.
    The durations of packets are added up, because headers are unreliable: a webm made by a browser states no length,
    and a crafted FLAC of half a megabyte holds hours. Stops when `max_duration_ms` is exceeded.
    Raises EmptyAudio, NoDuration, NotAudio, NoAudioTrack, TruncatedAudio or AudioTooLong.
    """
    import av

    with audio.open_track(source) as (container, stream, file):
        timeline = audio.Timeline()
        packets = tries = min_samples = 0
        is_decodable = False
        rate = stream.codec_context.sample_rate
        # An mp4 may state a wrong length for a packet. An AAC packet always decodes to one whole frame.
        frame_size = stream.codec_context.frame_size if stream.codec_context.name == "aac" else 0
        try:
            for packet in container.demux():
                packets += 1
                if packets > MAX_PACKETS:
                    raise errors.NotAudio("The file is cut into too many pieces.")
                if packet.stream_index != stream.index:
                    continue
                if not is_decodable and tries < audio.MAX_BAD_PACKETS_AT_START:
                    tries += 1
                    is_decodable = _decodes(packet)
                if not packet.size:
                    continue  # the end of the stream: the decoder returns the frames that it still holds
                min_samples += frame_size
                timeline.add(packet.pts, packet.duration or 0, packet.time_base)
                if max(timeline.total_ms, min_samples * 1000 // rate) > max_duration_ms + audio.LENGTH_SLACK_MS:
                    audio.raise_too_long(max_duration_ms)
        except (av.FFmpegError, ValueError, EOFError, MemoryError) as error:
            if not is_decodable:
                raise errors.NotAudio from error
            logger.info("demuxing stopped early: %s", type(error).__name__)
        duration_ms = timeline.total_ms
        if min_samples * 1000 // rate > duration_ms + audio.LENGTH_SLACK_MS:  # less is the encoder's padding
            duration_ms = min_samples * 1000 // rate
        _check_is_whole(container, stream, file, duration_ms=duration_ms)
        if duration_ms == 0:
            raise errors.NoDuration
        if not is_decodable:
            raise errors.NotAudio
        return AudioProbe(
            duration_ms=duration_ms,
            format=container.format.name,
            codec=stream.codec_context.name,
            sample_rate=rate,
            channels=stream.codec_context.channels,
        )


def probe_in_child(path: Path | str, *, max_duration_ms: int, timeout_seconds: float = 60) -> AudioProbe:
    """Run `probe` in a confined child, so that a decoder that crashes or hangs does not affect this process.

    Raises the errors of `probe`, and DecoderUnavailable. Raises NotAudio when the child crashes, stalls or exceeds its
    limits.
    """
    with children.child("probe", path, stall_seconds=timeout_seconds, max_duration_ms=max_duration_ms) as child:
        for _ in child.blocks():
            raise errors.NotAudio  # a probe sends no blocks: the child is compromised
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


def limits(*, max_duration_ms: int) -> Limits:
    """Return the resource limits of a probing child."""
    return Limits(memory_bytes=PROBE_MEMORY_BYTES, cpu_seconds=PROBE_CPU_SECONDS)


def handle(recording: int, *, send: object, max_duration_ms: int) -> dict[str, Any]:
    """Run in the child: return the probe as the answer."""
    return asdict(probe(recording, max_duration_ms=max_duration_ms))


def _decodes(packet: Any) -> bool:
    """Tell whether the packet decodes to sound."""
    import av

    try:
        return bool(packet.decode())
    except (av.FFmpegError, EOFError, ValueError, MemoryError):
        return False


def _check_is_whole(container: Any, stream: Any, file: BinaryIO, *, duration_ms: int) -> None:
    """Raise TruncatedAudio when the header states clearly more than was counted."""
    declared_ms = 0
    name = container.format.name
    if name == "mp3":
        samples = containers.mp3_declared_samples(file)
        declared_ms = samples * 1000 // stream.codec_context.sample_rate if samples else 0
    elif name == "wav":
        data_bytes = containers.wav_data_bytes(file)
        declared_ms = duration_ms * data_bytes[0] // max(1, data_bytes[1]) if data_bytes else 0
    elif name in containers.HEADER_STATES_LENGTH and stream.duration and stream.time_base:
        declared_ms = round(stream.duration * float(stream.time_base) * 1000)
    slack_ms = max(TRUNCATION_SLACK_MS, declared_ms * TRUNCATION_SLACK_PERCENT // 100)
    if declared_ms - duration_ms > slack_ms:
        raise errors.TruncatedAudio(declared_ms=declared_ms, found_ms=duration_ms)
