"""Opens an untrusted audio file and yields the packets of the tracks that are heard.

Every file is treated as hostile. It is opened through a Python file object, only by demuxers of audio formats, and
without a way to open another file or address. Run this in a confined child only. PyAV is imported on use.

A file has one part, or several one after another (`parts.of`). A part has one track, or several at the same
time (`choose_tracks`). Decision 26 says what is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from transcription.speech import containers, errors, hearing, parts
from transcription.speech.timeline import Clock, Timeline

logger = logging.getLogger(__name__)

# A header may state this much more than the file holds (the larger of both) before the file counts as truncated.
TRUNCATION_SLACK_MS = 500
TRUNCATION_SLACK_PERCENT = 2
# A demuxer that fails is asked again: a damaged page or cluster need not be the end. It may fail so often in a row.
MAX_DEMUXER_FAILURES = 20
# If so many packets fail at the start, the file counts as no audio. AMR may begin with a pause of any length, whose
# packets FFmpeg does not decode (findings/amr-dtx-pauses.sh).
MAX_BAD_PACKETS_AT_START = 100
UNFINISHED_MP4 = (
    "The file is an MP4 without the index that is written at its end: the recording or the upload was cut off. "
    "A repair program may restore it with the help of another recording of the same device."
)
SAMPLE_RATES = range(1_000, 768_001)
MAX_CHANNELS = 64


class _NamelessFile:
    """Hides the name of a file from libav, so that its extension cannot choose the demuxer."""

    def __init__(self, file: parts.Part) -> None:
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


class _FirstPage:
    """Finds how late an Ogg FLAC begins, such as a radio stream that was joined in the middle.

    libav counts the time stamps of the packets of the first page from 0 on, whatever the page states.
    """

    def __init__(self) -> None:
        self._place: int | None = None
        self._end = self._late = 0.0
        self._is_over = False

    def late(self, packet: Any, moment: float, seconds: float) -> float:
        """Return the seconds by which all time stamps behind the first page are later than those of the first page."""
        if not self._is_over and self._place in (None, packet.pos):
            self._place, self._end = packet.pos, moment + seconds
        elif not self._is_over:
            self._is_over, self._late = True, max(0.0, moment - self._end)
        return self._late


class _Stamps:
    """Corrects the time stamps of a container, so that the recording begins at 0. origin: the stamp of the start."""

    def __init__(self, container: Any, *, heard: list[Any], has_pictures: bool) -> None:
        name, start = container.format.name, container.start_time
        self.origin = start / 1_000_000 if has_pictures and start is not None else None
        self._clock = Clock() if name in containers.WITH_RESTARTING_CLOCKS else None
        is_ogg_flac = (name, heard[0].codec_context.name, len(heard)) == ("ogg", "flac", 1)
        self._page = _FirstPage() if is_ogg_flac and not has_pictures else None

    def correction(self, packet: Any, moment: float, seconds: float) -> float | None:
        """Return what is to be added, in seconds. None for what an edit list cuts away before the start."""
        if self.origin is None:
            if packet.is_discard:
                return None
            self.origin = moment
        if -1 < self.origin < 0:
            self.origin = 0.0  # what an encoder puts before the start is not heard
        found = -self.origin
        if self._clock is not None:
            found += self._clock.correct(packet.stream_index, moment)
        if self._page is not None:
            found -= self._page.late(packet, moment, seconds)
        return found


@dataclass(slots=True)
class Source:
    """One open part of a file: its container and the tracks that are heard."""

    container: Any
    file: parts.Part
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

        The packet's own time stamp is corrected too, so that frames carry it. Packets of size 0 hold no sound. A
        demuxer's error that lasts ends the packets and sets `is_stopped`.
        """
        numbers = {stream.index: number for number, stream in enumerate(self.streams)}
        units = {stream.index: float(stream.time_base or 0) for stream in self.container.streams}
        pictures = {stream.index for stream in self.container.streams.video if not _is_cover(stream)}
        stamps = _Stamps(self.container, heard=self.streams, has_pictures=bool(pictures))
        junk = _Junk(self.container.format.name)
        for packet in self._demuxed():
            index = packet.stream_index
            number, unit = numbers.get(index), units.get(index, 0.0)
            if number is None and index not in pictures:
                continue
            stamp = packet.pts
            if stamp is None and number is None:
                stamp = packet.dts
            length = (packet.duration or 0) * unit
            moment: float | None = None
            if stamp is not None and unit:
                correction = stamps.correction(packet, stamp * unit, length)
                self.origin = stamps.origin or 0.0
                if correction is not None:
                    moment = stamp * unit + correction
                    if correction and number is not None:
                        packet.pts = stamp + round(correction / unit)
            if number is None:
                continue
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
def open_file(source: Path | str | int) -> Iterator[tuple[BinaryIO, list[parts.Part]]]:
    """Yield (file, its parts, at least one). Raises EmptyAudio or NotAudio.

    source: a path, or a descriptor, which is closed at the end.
    """
    with open(source, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        containers.refuse_foreign(file)
        yield file, parts.of(file)


@contextmanager
def open_part(part: parts.Part) -> Iterator[Source]:
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
        raise errors.NotAudio(UNFINISHED_MP4 if parts.is_unfinished_mp4(part) else None) from error
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
    readable, late, problem = [], [], None
    for stream in container.streams.audio:
        try:
            _check_stream(stream)
        except errors.NotAudio as error:
            problem = problem or error
            if container.format.name in containers.WITH_RESTARTING_CLOCKS and _begins_late(stream):
                late.append(stream)
        else:
            readable.append(stream)
    readable += late if readable else []
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


def _begins_late(stream: Any) -> bool:
    """Tell whether a track of an MPEG stream was announced only, so that its packets will tell its rate and channels.

    It is so when recordings with other numbers of their tracks were joined.
    """
    context = stream.codec_context
    return context is not None and not context.sample_rate and context.name in containers.SELF_DESCRIBING_CODECS


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
    elif name in containers.HEADER_STATES_BYTES:
        stated_ms = duration_ms * (containers.stated_bytes(opened.file) or 0) // max(1, opened.file.size)
    elif (name, stream.codec_context.name) in containers.WRONG_LENGTHS:
        return 0
    elif name in containers.HEADER_STATES_LENGTH and stream.duration and stream.time_base:
        stated_ms = round((stream.duration * float(stream.time_base) - max(0.0, opened.origin)) * 1000)
    slack_ms = max(TRUNCATION_SLACK_MS, stated_ms * TRUNCATION_SLACK_PERCENT // 100)
    return stated_ms if stated_ms - duration_ms > slack_ms else 0
