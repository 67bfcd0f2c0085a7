"""Decodes an untrusted audio file into windows of bounded size.

Every file is treated as hostile. It is opened through a Python file object, only by demuxers of audio formats, and
without a way to open another file or address. Its statements about its own length are not trusted. Run this in a
confined child only (`decode`, `probing`). PyAV and numpy are imported on use.

A file has one part, or several one after another (`containers.parts`). A part has one track, or several at the same
time (`choose_tracks`). A track has channels. Decision 25 says what is mixed and what is left out.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from transcription.speech import containers, errors, hearing
from transcription.speech.mixing import BLOCK, Limiter, Mixer
from transcription.speech.samples import SAMPLE_RATE, Samples, ms_to_samples
from transcription.speech.timeline import Clock, Timeline

logger = logging.getLogger(__name__)

WINDOW_MS = 30_000

# Decoding may give this much more than the probe measured (encoder padding, a last partial packet).
LENGTH_SLACK_MS = 1_000
# A header may state this much more than the file holds (the larger of both) before the file counts as truncated.
TRUNCATION_SLACK_MS = 500
TRUNCATION_SLACK_PERCENT = 2
# If so many packets fail at the start, the file counts as no audio. AMR may begin with a pause of any length, whose
# packets FFmpeg does not decode (findings/amr-dtx-pauses.sh).
MAX_BAD_PACKETS_AT_START = 100
# A demuxer that fails is asked again: a damaged page or cluster need not be the end. It may fail so often in a row.
MAX_DEMUXER_FAILURES = 20
# Pauses of this length and more are named in the notes.
MIN_NOTED_GAP_SECONDS = 60.0
# A track without packets is taken for silent when another one is so far ahead: memory is bounded.
MAX_AHEAD_SECONDS = 60
# A track whose last packets do not decode is filled up to their end, if it is at least so much.
MIN_TAIL_SECONDS = 0.5
SAMPLE_RATES = range(1_000, 768_001)
MAX_CHANNELS = 64
# Beyond full scale by 100 dB: no scale of a float file is larger, and products of such samples do not overflow.
MAX_SAMPLE = 1e5
# Two channels that are this alike carry the same sound.
MIN_SAME_CORRELATION = 0.95


class _NamelessFile:
    """Hides the name of a file from libav, so that its extension cannot choose the demuxer."""

    def __init__(self, file: containers.Part) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def _refuse_to_open(url: str, *_: Any) -> NoReturn:
    """Refuse to open a second file or address. Attack: a playlist that names files or hosts of the server."""
    raise PermissionError(f"not opened: {url[:80]!r}")


class Piece(NamedTuple):
    """A packet of a track, or None for what is lost: its time becomes silence.

    track: number of the track. start: seconds from the start of the recording, None if the packet has no time stamp.
    seconds: the length that the packet states, 0 for none; it may be nonsense.
    """

    track: int
    packet: Any
    start: float | None
    seconds: float


class _Junk:
    """Finds bytes in a raw stream that are no frames. Without time stamps, the sound behind them would be too early."""

    def __init__(self, format_name: str) -> None:
        self._max_bytes = containers.MAX_FRAME_BYTES.get(format_name)
        self._bytes = self._seconds = 0.0

    def lost_after(self, packet: Any, seconds: float) -> float:
        """Return the seconds of sound that the packet's bytes beyond one frame once were."""
        if self._max_bytes is None or not packet.size:
            return 0.0
        if packet.size <= self._max_bytes:
            self._bytes += packet.size
            self._seconds += seconds
            return 0.0
        if not self._seconds or any(mark in bytes(packet) for mark in containers.TAG_MARKS):
            return 0.0  # a tag, of a file that was joined to this one
        return max(0.0, float(packet.size) * self._seconds / self._bytes - seconds)


@dataclass(slots=True)
class Source:
    """One open part of a file: its container and the tracks that are heard."""

    container: Any
    file: containers.Part
    streams: list[Any]
    unheard: list[hearing.Fact]
    is_stopped: bool = False
    origin: float = 0.0  # the time stamp of the start, in seconds

    @property
    def channels(self) -> int:
        """The number of channels of all tracks together."""
        return sum(stream.codec_context.channels for stream in self.streams)

    def timeline(self) -> Timeline:
        return Timeline(has_stamps=self.container.format.name not in containers.WITHOUT_STAMPS)

    def packets(self) -> Iterator[Piece]:
        """Yield the packets of the heard tracks, in file order, and what is lost between them.

        The packet's own time stamp is corrected too, so that frames carry it. Packets of size 0 end each track. A
        demuxer's error that lasts ends the packets and sets `is_stopped`.
        """
        numbers = {stream.index: number for number, stream in enumerate(self.streams)}
        units = {stream.index: float(stream.time_base or 0) for stream in self.container.streams}
        pictures = {stream.index for stream in self.container.streams.video if not _is_cover(stream)}
        clock = Clock() if self.container.format.name in containers.WITH_RESTARTING_CLOCKS else None
        junk = _Junk(self.container.format.name)
        start = self.container.start_time
        origin = start / 1_000_000 if pictures and start is not None else None
        for packet in self._demuxed():
            index = packet.stream_index
            number, unit = numbers.get(index), units.get(index, 0.0)
            if number is None and index not in pictures:
                continue
            stamp = packet.pts
            if stamp is None and number is None:
                stamp = packet.dts
            moment: float | None = None
            if stamp is not None and unit:
                moment = stamp * unit
                if origin is None:
                    origin = moment
                if -1 < origin < 0:
                    origin = 0.0  # what an encoder puts before the start is not heard
                self.origin = origin
                shift = -origin + (clock.correct(index, moment) if clock is not None else 0.0)
                moment += shift
            if number is None:
                continue
            if moment is not None and shift:
                packet.pts = stamp + round(shift / unit)
            length = (packet.duration or 0) * unit
            yield Piece(number, packet, moment, length)
            if lost := junk.lost_after(packet, length):
                yield Piece(number, None, None, lost)

    def _demuxed(self) -> Iterator[Any]:
        """Yield all packets. A demuxer that fails is asked again, until it fails too often in a row."""
        import av

        failures = 0
        while True:
            try:
                for packet in self.container.demux():
                    if packet.size:
                        failures = 0
                    yield packet
            except (av.FFmpegError, EOFError, ValueError, MemoryError) as error:
                failures += 1
                if failures <= MAX_DEMUXER_FAILURES and not isinstance(error, EOFError | MemoryError):
                    continue
                logger.info("demuxing stopped early: %s", type(error).__name__)
                self.is_stopped = True
            return


def _is_cover(stream: Any) -> bool:
    """Tell whether a picture track is a still image, such as the cover of a song."""
    import av

    return bool(stream.disposition & av.stream.Disposition.attached_pic)


@contextmanager
def open_file(source: Path | str | int) -> Iterator[tuple[BinaryIO, list[containers.Part]]]:
    """Yield (file, its parts, at least one). Raises EmptyAudio or NotAudio.

    source: a path, or a descriptor, which is closed at the end.
    """
    with open(source, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        containers.refuse_foreign(file)
        yield file, containers.parts(file)


@contextmanager
def open_part(part: containers.Part) -> Iterator[Source]:
    """Yield one part of a file, opened. Raises NotAudio or NoAudioTrack."""
    import av

    av.logging.set_level(None)  # libav would print untrusted metadata to our log
    try:
        container = av.open(
            _NamelessFile(part),
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
        streams, unheard = choose_tracks(container)
        for stream in streams:
            if container.format.name == "caf" and stream.codec_context.name == "alac":
                # libav takes what the last packet lacks away twice (findings/caf-alac-last-frames.sh).
                stream.codec_context.flags2 |= av.codec.context.Flags2.skip_manual
        yield Source(container, part, streams, unheard)


def choose_tracks(container: Any) -> tuple[list[Any], list[hearing.Fact]]:
    """Return (the tracks that are heard, together, and what is said about the others). Raises NotAudio.

    The default track is the main one. Tracks in its language, or without a language, are mixed with it: recorders of
    screens and calls write each person to a track. Tracks in another language are dubbing, and tracks that are marked
    as comments or for the deaf or blind repeat the main one: they are left out.
    """
    import av

    marks = av.stream.Disposition
    aside = marks.comment | marks.hearing_impaired | marks.visual_impaired | marks.descriptions | marks.dub
    readable, problem = [], None
    for stream in container.streams.audio:
        try:
            _check_stream(stream)
        except errors.NotAudio as error:
            problem = problem or error
        else:
            readable.append(stream)
    if not readable:
        assert problem is not None, "there is at least one track"
        raise problem
    unreadable = len(container.streams.audio) - len(readable)
    main = next((stream for stream in readable if stream.disposition & marks.default), readable[0])
    language = _language(main)
    heard: list[Any] = []
    others: list[Any] = []
    for stream in readable:
        is_other = bool(stream.disposition & aside) or (language and _language(stream) not in ("", language))
        is_full = sum(one.codec_context.channels for one in heard) + stream.codec_context.channels > MAX_CHANNELS
        (others if stream is not main and (is_other or is_full) else heard).append(stream)
    facts = []
    if others:
        facts.append(hearing.Fact("tracks_left_out", count=len(others)))
    if unreadable:
        facts.append(hearing.Fact("tracks_unreadable", count=unreadable))
    return heard, facts


def _language(stream: Any) -> str:
    """Return the language that a track states, "" if it states none."""
    stated = str(stream.metadata.get("language") or "").lower().partition("-")[0]
    return "" if stated in ("und", "mis", "mul", "zxx", "qaa") else stated


def _check_stream(stream: Any) -> None:
    """Raise NotAudio for a track without a decoder, or with an impossible sample rate or number of channels."""
    context = stream.codec_context
    if context is None:
        raise errors.NotAudio("The audio track uses a codec that we cannot read.")
    if context.sample_rate not in SAMPLE_RATES or not 1 <= context.channels <= MAX_CHANNELS:
        raise errors.NotAudio("The audio track states an impossible sample rate or number of channels.")
    context.thread_count = 1  # the other cores are for the engine


def declared_ms(opened: Source, *, duration_ms: int) -> int:
    """Return the length that the header states, if it is clearly more than the part's length; 0 otherwise."""
    stated_ms = 0
    name, stream = opened.container.format.name, opened.streams[0]
    if name == "mp3":
        samples = containers.mp3_declared_samples(opened.file)
        stated_ms = samples * 1000 // stream.codec_context.sample_rate if samples else 0
    elif name == "wav":
        data_bytes = containers.wav_data_bytes(opened.file)
        stated_ms = duration_ms * data_bytes[0] // max(1, data_bytes[1]) if data_bytes else 0
    elif (name, stream.codec_context.name) in containers.WRONG_LENGTHS:
        return 0
    elif name in containers.HEADER_STATES_LENGTH and stream.duration and stream.time_base:
        stated_ms = round((stream.duration * float(stream.time_base) - max(0.0, opened.origin)) * 1000)
    slack_ms = max(TRUNCATION_SLACK_MS, stated_ms * TRUNCATION_SLACK_PERCENT // 100)
    return stated_ms if stated_ms - duration_ms > slack_ms else 0


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
    with open_file(source) as (_, parts):
        for number, part in enumerate(parts):
            try:
                with open_part(part) as opened:
                    for tracks in _aligned(opened, facts=facts, before=decoded):
                        decoded += tracks[0].shape[1]
                        if channel is None:
                            yield limiter.limit(mixer.mix(tracks))
                        else:
                            one = _channel(tracks, channel, layout=opened.streams)
                            if likeness is not None:
                                likeness.add(_channel(tracks, 0, layout=opened.streams), one)
                            yield limiter.limit(one)
            except errors.AudioError:
                if number == 0:
                    raise
                facts.append(hearing.Fact("stopped", at_ms=decoded * 1000 // SAMPLE_RATE))
    if likeness is not None:
        facts.extend(likeness.facts())


def _channel(tracks: list[Samples], channel: int, *, layout: list[Any]) -> Samples:
    """Return one channel, counted through the tracks; silence where it is missing."""
    import numpy as np

    for rows, stream in zip(tracks, layout, strict=True):
        stated = stream.codec_context.channels
        if channel < stated:
            return rows[channel] if channel < len(rows) else np.zeros(rows.shape[1], dtype=np.float32)
        channel -= stated
    return np.zeros(tracks[0].shape[1], dtype=np.float32)


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


def _aligned(opened: Source, *, facts: list[hearing.Fact], before: int) -> Iterator[list[Samples]]:
    """Yield blocks of all tracks at the same time: for each track an array (channels, n), of one n up to `BLOCK`.

    before: samples of the parts before this one, for the times in `facts`.
    """
    tracks = [_Track(stream, opened.timeline()) for stream in opened.streams]
    for number, packet, start, seconds in opened.packets():
        if packet is None:
            tracks[number].lose(seconds)
        elif packet.size:
            tracks[number].feed(packet, start, seconds)
        else:
            tracks[number].finish()
        while _is_ready(tracks):
            yield [track.take(BLOCK) for track in tracks]
    for track in tracks:
        track.finish()
    facts.extend(opened.unheard)
    if opened.file.is_mended:
        facts.append(hearing.Fact("rest_of_wav"))
    if all(not track.decoded_count for track in tracks) and any(track.bad_count for track in tracks):
        raise errors.NotAudio
    while longest := max(track.count for track in tracks):
        yield [track.take(min(BLOCK, longest)) for track in tracks]
    before_ms = before * 1000 // SAMPLE_RATE
    for track in tracks:
        facts.extend(track.facts(before_ms=before_ms))
    end_ms = max(track.timeline.total_ms for track in tracks)
    if stated_ms := declared_ms(opened, duration_ms=end_ms):
        facts.append(hearing.Fact("truncated", at_ms=end_ms, end_ms=stated_ms))
    if opened.is_stopped:
        facts.append(hearing.Fact("stopped", at_ms=before_ms + end_ms))


def _is_ready(tracks: list[_Track]) -> bool:
    """Tell whether the next block can be taken. A track that is far behind the others is lengthened by silence."""
    longest = max(track.count for track in tracks)
    if longest < BLOCK:
        return False
    shortest = min((track.count for track in tracks if not track.is_done), default=longest)
    if shortest >= BLOCK:
        return True
    if longest - shortest < MAX_AHEAD_SECONDS * SAMPLE_RATE:
        return False
    for track in tracks:
        if not track.is_done:
            track.fill_to(longest)
    return True


class _Track:
    """Decodes one track into a queue of 16 kHz arrays of shape (channels, n)."""

    def __init__(self, stream: Any, timeline: Timeline) -> None:
        self.timeline = timeline
        self.count = 0  # samples in the queue
        self.decoded_count = self.bad_count = 0
        self.is_done = False
        self._stream = stream
        self._resampler = _Resampler()
        self._queue: deque[Samples] = deque()
        self._end = self._bad_seconds = self._frame_seconds = 0.0
        self._gaps: list[tuple[float, float]] = []
        self._is_refused = False
        self._unit: float | None = None  # seconds of one step of the frames' time stamps

    def feed(self, packet: Any, start: float | None, seconds: float) -> None:
        """Decode one packet. One that does not decode is skipped, and its time becomes silence."""
        import av

        if self._is_refused:
            return
        if start is not None:
            self._end = max(self._end, start + (seconds if 0 <= seconds <= 1 else 0))
        try:
            frames = packet.decode()
        except (av.FFmpegError, EOFError, ValueError, MemoryError):
            self.bad_count += 1
            self._bad_seconds += seconds if 0 <= seconds <= 1 else 0
            may_begin_with_a_pause = self._stream.codec_context.name in containers.CODECS_WITH_PAUSES
            if not self.decoded_count and self.bad_count > MAX_BAD_PACKETS_AT_START and not may_begin_with_a_pause:
                self._is_refused = True
            if self.decoded_count and not self.timeline.has_stamps:
                self._silence(self._frame_seconds)
            return
        self._place(frames)

    def lose(self, seconds: float) -> None:
        """Put silence in the place of sound that is lost."""
        self._bad_seconds += seconds
        self._silence(seconds)

    def _silence(self, seconds: float) -> None:
        self._push(self._resampler.flush())
        self.timeline.skip(seconds)
        self._fill(round(seconds * SAMPLE_RATE))

    def _place(self, frames: list[Any]) -> None:
        for frame in frames:
            self.decoded_count += 1
            if not frame.sample_rate:
                continue
            if self._unit is None:
                self._unit = float(frame.time_base or 0)
            start = frame.pts * self._unit if frame.pts is not None and self._unit else None
            at = self.timeline.position
            self._frame_seconds = frame.samples / frame.sample_rate
            placed = self.timeline.add(start, self._frame_seconds)
            if placed.gap:
                self._push(self._resampler.flush())
                if placed.gap >= MIN_NOTED_GAP_SECONDS:
                    self._gaps.append((at, at + placed.gap))
                self._fill(round((at + placed.gap) * SAMPLE_RATE) - round(at * SAMPLE_RATE))
            self._push(self._resampler.feed(frame, surplus=placed.surplus))

    def finish(self) -> None:
        """Take out what decoder and resampler still hold. Safe to call twice."""
        import av

        if self.is_done:
            return
        self.is_done = True
        try:
            self._place(self._stream.codec_context.decode(None))
        except (av.FFmpegError, EOFError, ValueError, MemoryError):
            self.bad_count += 1
        self._push(self._resampler.flush())
        rest = self._end - self.timeline.position
        if self.decoded_count and self._bad_seconds and MIN_TAIL_SECONDS <= rest <= self._bad_seconds:
            self._fill(round(rest * SAMPLE_RATE))
            self.timeline.skip(rest)

    def fill_to(self, count: int) -> None:
        """Lengthen the queue by silence."""
        if count > self.count:
            self.timeline.skip((count - self.count) / SAMPLE_RATE)
            self._fill(count - self.count)

    def take(self, count: int) -> Samples:
        """Return the next samples, of shape (channels, count); silence where they are missing."""
        import numpy as np

        taken: list[Samples] = []
        left = count
        while left and self._queue:
            first = self._queue.popleft()
            if first.shape[1] > left:
                self._queue.appendleft(first[:, left:])
                first = first[:, :left]
            taken.append(first)
            left -= first.shape[1]
        self.count -= count - left
        channels = max((one.shape[0] for one in taken), default=1)
        block = np.zeros((channels, count), dtype=np.float32)
        at = 0
        for one in taken:
            block[: one.shape[0], at : at + one.shape[1]] = one
            at += one.shape[1]
        return block

    def facts(self, *, before_ms: int) -> list[hearing.Fact]:
        found = [
            hearing.Fact("gap", at_ms=before_ms + round(start * 1000), end_ms=before_ms + round(end * 1000))
            for start, end in self._gaps[: hearing.MAX_FACTS]
        ]
        is_speech_pause = self._stream.codec_context.name in containers.CODECS_WITH_PAUSES
        if self._bad_seconds >= 1 and not is_speech_pause:
            found.append(hearing.Fact("damaged", count=round(self._bad_seconds)))
        return found

    def _push(self, pieces: Iterator[Samples]) -> None:
        for piece in pieces:
            self._queue.append(piece)
            self.count += piece.shape[1]

    def _fill(self, count: int) -> None:
        """Append silence, in one array that takes no memory."""
        import numpy as np

        if count > 0:
            self._queue.append(np.broadcast_to(np.zeros((1, 1), dtype=np.float32), (1, count)))
            self.count += count


class _Resampler:
    """Converts frames to 16 kHz float32 without mixing. Starts over when the format changes within a track."""

    def __init__(self) -> None:
        self._resampler: Any = None
        self._source: tuple[Any, ...] = ()
        self._channels = 0
        self._debt = 0.0

    def feed(self, frame: Any, *, surplus: float) -> Iterator[Samples]:
        """Yield arrays (channels, n). Raises NotAudio for a channel layout that cannot be read.

        surplus: seconds by which to shorten the sound (`timeline`).
        """
        import av

        source = (frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate)
        if source != self._source:
            yield from self.flush()
            self._source, self._channels = source, frame.layout.nb_channels
        if self._resampler is None:
            # The same layout goes in and out: so libav mixes nothing. Packed, because PyAV 18.1 reads beyond the planes
            # of a planar frame of 8 channels and more (`AudioFrame.planes`).
            self._resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=SAMPLE_RATE)
        self._debt += surplus * SAMPLE_RATE
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
            if one is None or not one.samples:
                continue
            rows = np.ascontiguousarray(one.to_ndarray().reshape(-1, self._channels).T)
            if not max(rows.max(), -rows.min()) <= MAX_SAMPLE:  # also if one is no number
                rows = np.nan_to_num(rows, nan=0.0, posinf=1.0, neginf=-1.0).clip(-MAX_SAMPLE, MAX_SAMPLE)
            yield self._shortened(rows)

    def _shortened(self, rows: Samples) -> Samples:
        """Return the sound a little shorter, while it is ahead of its time stamps."""
        import numpy as np

        take = min(int(self._debt), rows.shape[1] // 10)
        if take < 1:
            return rows
        self._debt -= take
        at = np.linspace(0, rows.shape[1] - 1, rows.shape[1] - take)
        return np.stack([np.interp(at, np.arange(rows.shape[1]), row) for row in rows]).astype(np.float32)


def raise_too_long(max_duration_ms: int) -> NoReturn:
    """Raise AudioTooLong with a message that names the allowed length."""
    seconds = max_duration_ms / 1000
    size, unit = next((one for one in ((3600, "hour"), (60, "minute")) if seconds >= one[0]), (1, "second"))
    length = f"{seconds / size:.4g} {unit}" + ("" if seconds == size else "s")
    raise errors.AudioTooLong(f"The recording is longer than {length}.", max_duration_ms=max_duration_ms)
