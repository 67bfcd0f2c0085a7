"""Bytes from strangers -> what they are (`probe`) and their sound in bounded windows (`windows`).

Every file is hostile until decoded: it is opened through a Python file object, only by demuxers that carry sound,
with no way to open another file or address, and is never trusted about its own length. `probe` demuxes only, and
the web process runs it in a child with resource limits (`probe_in_child`). PyAV and numpy are imported on use.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from transcription.speech import containers, errors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
WINDOW_MS = 30_000

# A recording may come out this much longer than it was probed (encoder padding, a last partial packet).
LENGTH_SLACK_MS = 1_000
# A header may promise this much more than there is: the larger of the two.
TRUNCATION_SLACK_MS = 500
TRUNCATION_SLACK_PERCENT = 2
# Gaps between time stamps become silence, so that times agree with a player's. Smaller ones are rounding; larger
# ones are more likely a broken clock than a pause.
GAP_FROM_MS = 50
GAP_TO_MS = 600_000

# 10 hours of video are about 4 million packets; a crafted file could have many more of a few bytes each.
MAX_PACKETS = 12_000_000
# How many packets may fail at the start before we say that this is no audio at all.
MAX_BAD_PACKETS_AT_START = 100
PROBE_CPU_SECONDS = 50
PROBE_MEMORY_BYTES = 1 << 30
SAMPLE_RATES = range(1_000, 768_001)
MAX_CHANNELS = 64


@dataclass(frozen=True, slots=True)
class AudioProbe:
    """What a file holds: its first audio track, measured by counting and not by believing."""

    duration_ms: int
    format: str
    codec: str
    sample_rate: int
    channels: int


class _Nameless:
    """Shows libav a file's bytes but not its name, so that an extension cannot choose the demuxer."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def _deny(url: str, *_: Any) -> NoReturn:
    """Refuse what a demuxer wants to open beside the file: playlists name other files and hosts."""
    raise PermissionError(f"not opened: {url[:80]!r}")


@contextmanager
def _open(path: Path | str) -> Iterator[tuple[Any, Any, BinaryIO]]:
    """Yield (container, first audio stream, file), or raise EmptyAudio, NotAudio or NoAudioTrack."""
    import av

    av.logging.set_level(None)  # libav would print a stranger's metadata to our log
    with Path(path).open("rb") as file:
        containers.refuse_foreign(file)
        try:
            container = av.open(
                _Nameless(file),
                mode="r",
                options={"protocol_whitelist": "pipe", "format_whitelist": ",".join(containers.DEMUXERS)},
                io_open=_deny,
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
    """Raise NotAudio for a track that no decoder can take or whose figures are absurd."""
    context = stream.codec_context
    if context is None:
        raise errors.NotAudio("The audio track uses a codec that we cannot read.")
    if context.sample_rate not in SAMPLE_RATES or not 1 <= context.channels <= MAX_CHANNELS:
        raise errors.NotAudio("The audio track states an impossible sample rate or number of channels.")
    context.thread_count = 1  # cores belong to the engine


def probe(path: Path | str, *, max_duration_ms: int) -> AudioProbe:
    """Measure a recording by reading its packets, decoding only until the first sound comes out.

    Packet durations are counted because headers lie: a browser's webm has no length, and a crafted FLAC of half a
    megabyte holds hours. Stops as soon as `max_duration_ms` is passed.
    Raises EmptyAudio, NoDuration, NotAudio, NoAudioTrack, TruncatedAudio or AudioTooLong.
    """
    import av

    with _open(path) as (container, stream, file):
        timeline = _Timeline()
        packets = tries = samples_at_least = 0
        is_decodable = False
        rate = stream.codec_context.sample_rate
        # An mp4 states the length of each packet and may lie; an AAC packet always decodes to one whole frame.
        frame_size = stream.codec_context.frame_size if stream.codec_context.name == "aac" else 0
        try:
            for packet in container.demux():
                packets += 1
                if packets > MAX_PACKETS:
                    raise errors.NotAudio("The file is cut into too many pieces.")
                if packet.stream_index != stream.index:
                    continue
                if not is_decodable and tries < MAX_BAD_PACKETS_AT_START:
                    tries += 1
                    is_decodable = _decodes(packet)
                if not packet.size:
                    continue  # the end, which only makes the decoder give what it holds
                samples_at_least += frame_size
                timeline.add(packet.pts, packet.duration or 0, packet.time_base)
                if max(timeline.total_ms, samples_at_least * 1000 // rate) > max_duration_ms + LENGTH_SLACK_MS:
                    _too_long(max_duration_ms)
        except (av.FFmpegError, ValueError, EOFError, MemoryError) as error:
            if not is_decodable:
                raise errors.NotAudio from error
            logger.info("demuxing stopped early: %s", type(error).__name__)
        duration_ms = timeline.total_ms
        if samples_at_least * 1000 // rate > duration_ms + LENGTH_SLACK_MS:  # less is the encoder's padding
            duration_ms = samples_at_least * 1000 // rate
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
    """Run `probe` in a short-lived process with resource limits and none of our environment.

    This is what the web process calls: a crash or a hang of a decoder harms nobody else there.
    Raises what `probe` raises; a child that crashes, stalls or exceeds its limits means NotAudio.
    """
    command = [sys.executable, "-E", "-s", "-m", "transcription.speech.probe"]
    command += ["--max-duration-ms", str(max_duration_ms), "--", str(Path(path).resolve())]
    try:
        child = subprocess.run(  # noqa: S603 - our own module, an absolute path behind "--"
            command,
            cwd=Path(__file__).resolve().parents[2],
            env={"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
        answer = json.loads(child.stdout)
    except subprocess.TimeoutExpired as error:
        raise errors.NotAudio("The file takes too long to read.") from error
    except ValueError as error:
        logger.warning("probe child ended with status %s: %s", child.returncode, child.stderr[-500:])
        raise errors.NotAudio from error
    if "error" in answer:
        raise errors.from_dict(answer["error"], otherwise=errors.NotAudio)
    return AudioProbe(**answer)


def windows(
    path: Path | str, *, max_duration_ms: int, window_ms: int = WINDOW_MS, channel: int | None = None
) -> Iterator[Samples]:
    """Yield the recording as consecutive float32 arrays, 16 kHz mono, -1 to 1, `window_ms` long (the last: less).

    channel: which one to take, from 0; None mixes them. One that a stretch of the recording lacks is silent there.

    Their lengths add up to the decoded duration. At most one window and one frame are in memory. A few corrupt
    packets are skipped; gaps in the time stamps come out as silence, so that times agree with a player's.
    Raises AudioTooLong while decoding, NotAudio when nothing decodes, NoDuration when there are no samples.
    """
    import numpy as np

    size = SAMPLE_RATE * window_ms // 1000
    limit = SAMPLE_RATE * (max_duration_ms + LENGTH_SLACK_MS) // 1000
    kept: list[Samples] = []
    kept_count = total = 0
    for piece in _pieces(path, channel=channel):
        total += len(piece)
        if total > limit:
            _too_long(max_duration_ms)
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
    """Return at most `count` loudness peaks, 0 to 100, evenly spread over the recording, for drawing a waveform."""
    import numpy as np

    per_tenth: list[float] = []
    step = SAMPLE_RATE // 10
    for window in windows(path, max_duration_ms=max_duration_ms):
        padded = np.pad(np.abs(window), (0, -len(window) % step))
        per_tenth.extend(padded.reshape(-1, step).max(axis=1).tolist())
    groups = np.array_split(np.asarray(per_tenth), min(count, len(per_tenth)))
    return [min(100, round(float(group.max()) * 100)) for group in groups]


def _pieces(path: Path | str, *, channel: int | None) -> Iterator[Samples]:
    """Yield non-empty 16 kHz mono float32 arrays of any length, frame by frame."""
    import numpy as np

    with _open(path) as (container, stream, _):
        resampler = _Resampler(channel=channel)
        timeline = _Timeline()
        for frame in _frames(container, stream):
            gap_ms = timeline.add(frame.pts, frame.samples, frame.time_base, rate=frame.sample_rate)
            while gap_ms > 0:  # in parts, so that a long gap is never one array
                part_ms = min(gap_ms, WINDOW_MS)
                yield np.zeros(part_ms * SAMPLE_RATE // 1000, dtype=np.float32)
                gap_ms -= part_ms
            yield from resampler.feed(frame)
        yield from resampler.flush()


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Yield decoded audio frames, skipping packets that do not decode. Raises NotAudio when none does."""
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
    """Any frames in, 16 kHz mono float32 out; starts over when a stream changes its format midway."""

    def __init__(self, *, channel: int | None = None) -> None:
        self._channel = channel
        self._resampler: Any = None
        self._source: tuple[Any, ...] = ()

    def feed(self, frame: Any) -> Iterator[Samples]:
        """Yield what the frame completes. Raises NotAudio for a layout that cannot be mixed to mono."""
        import av

        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source != self._source:
            yield from self.flush()
            layout = "mono" if self._channel is None else frame.layout
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=SAMPLE_RATE)
            self._source = source
        frame.pts = None  # our own timeline counts; the resampler must not fill gaps a second time
        yield from self._convert(frame)

    def flush(self) -> Iterator[Samples]:
        """Yield the samples that the filter still holds."""
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
                # Float formats may carry NaN, infinity or loudness beyond 1; none may reach a model.
                yield np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)


class _Timeline:
    """Adds up packets or frames the way a player would: what they last, plus plausible gaps between them."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._expected: float | None = None

    @property
    def total_ms(self) -> int:
        return round(self._seconds * 1000)

    def add(self, pts: int | None, length: int, time_base: Any, *, rate: int | None = None) -> int:
        """Count one piece and return the gap before it in milliseconds (0: none).

        length: in units of `time_base`, or in samples when `rate` is given.
        """
        seconds = max(0.0, length / rate if rate else length * float(time_base or 0))
        gap_ms = 0
        if pts is not None and time_base:
            start = pts * float(time_base)
            expected = self._expected if self._expected is not None else 0.0
            jump_ms = round((start - expected) * 1000)
            if GAP_FROM_MS <= jump_ms <= GAP_TO_MS:
                gap_ms = jump_ms
            self._expected = start + seconds
        elif self._expected is not None:
            self._expected += seconds
        self._seconds += seconds + gap_ms / 1000
        return gap_ms


def _decodes(packet: Any) -> bool:
    """Tell whether the packet gives sound."""
    import av

    try:
        return bool(packet.decode())
    except (av.FFmpegError, EOFError, ValueError, MemoryError):
        return False


def _check_is_whole(container: Any, stream: Any, file: BinaryIO, *, duration_ms: int) -> None:
    """Raise TruncatedAudio when the header promises clearly more than was counted."""
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


def _too_long(max_duration_ms: int) -> NoReturn:
    seconds = max_duration_ms / 1000
    size, unit = next((one for one in ((3600, "hour"), (60, "minute")) if seconds >= one[0]), (1, "second"))
    length = f"{seconds / size:.4g} {unit}" + ("" if seconds == size else "s")
    raise errors.AudioTooLong(f"The recording is longer than {length}.", max_duration_ms=max_duration_ms)


def to_json(found: AudioProbe) -> str:
    """Return the probe as one line of JSON, as the child prints it."""
    return json.dumps(asdict(found))
