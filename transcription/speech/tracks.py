"""Decodes the packets of tracks into 16 kHz samples, each at its time, and all tracks side by side.

Run this in a confined child only. PyAV and numpy are imported on use.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from transcription.speech import containers, demuxing, errors, hearing
from transcription.speech.demuxing import Source
from transcription.speech.mixing import BLOCK
from transcription.speech.samples import SAMPLE_RATE, Samples
from transcription.speech.timeline import MAX_ROUNDING_SECONDS, Timeline

# Pauses of this length and more are named in the notes.
MIN_NOTED_GAP_SECONDS = 60.0
# A track without packets is taken for silent when another one is so far ahead: memory is bounded.
MAX_AHEAD_SECONDS = 60
# A track whose last packets do not decode is filled up to their end, if it is at least so much.
MIN_TAIL_SECONDS = 0.5
# Beyond full scale by 100 dB: no scale of a float file is larger, and products of such samples do not overflow.
MAX_SAMPLE = 1e5


def aligned(opened: Source, *, facts: list[hearing.Fact], before: int) -> Iterator[list[Samples]]:
    """Yield blocks of all tracks at the same time: for each track an array (channels, n), of one n up to `BLOCK`.

    before: samples of the parts before this one, for the times in `facts`.
    """
    tracks = [_Track(stream, opened.timeline()) for stream in opened.streams]
    for number, packet, start, seconds in opened.packets():
        if packet is None:
            tracks[number].lose(seconds)
        elif packet.size:  # an empty one is no end: FLV begins with one for Opus, FLAC and AC-3
            tracks[number].feed(packet, start, seconds)
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
    if stated_ms := demuxing.declared_ms(opened, duration_ms=end_ms):
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
        self._early = 0  # samples before the start that are still to come
        self.is_done = False
        self._stream = stream
        self._resampler = _Resampler()
        self._queue: deque[Samples] = deque()
        self._end = self._bad_seconds = self._frame_seconds = 0.0
        self._gaps: list[tuple[float, float]] = []
        self._is_refused = False
        self._held: Any = None  # the last frame: when it is the last of all, its padding is left out
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
            if (
                not self.decoded_count
                and self.bad_count > demuxing.MAX_BAD_PACKETS_AT_START
                and not may_begin_with_a_pause
            ):
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
        self._release()
        self._push(self._resampler.flush())
        self.timeline.skip(seconds)
        self._fill(round(seconds * SAMPLE_RATE))

    def _place(self, frames: list[Any]) -> None:
        for frame in frames:
            self.decoded_count += 1
            if frame.sample_rate:
                self._release()
                self._held = frame
                self._frame_seconds = frame.samples / frame.sample_rate

    def _release(self) -> None:
        """Place the frame that is held."""
        frame, self._held = self._held, None
        if frame is None:
            return
        if self._unit is None:
            self._unit = float(frame.time_base or 0)
        start = frame.pts * self._unit if frame.pts is not None and self._unit else None
        at = self.timeline.position
        placed = self.timeline.add(start, frame.samples / frame.sample_rate)
        self._early += round(placed.early * SAMPLE_RATE)
        if placed.gap:
            self._push(self._resampler.flush())
            if placed.gap >= MIN_NOTED_GAP_SECONDS:
                self._gaps.append((at, at + placed.gap))
            self._fill(round((at + placed.gap) * SAMPLE_RATE) - round(at * SAMPLE_RATE))
        self._push(self._resampler.feed(frame, surplus=placed.surplus))

    def _padding(self) -> float:
        """Return the seconds by which the frame that is held is longer than its packet says that it is heard.

        A packet of an MP4 states so when an encoder has filled up its last frame.
        """
        if self._held is None or not self.timeline.has_stamps:
            return 0.0
        stated = float((self._held.duration or 0) * (self._held.time_base or 0))
        padding = self._held.samples / self._held.sample_rate - stated
        return padding if stated > 0 and padding > MAX_ROUNDING_SECONDS else 0.0

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
        padding = self._padding()
        self._release()
        self._push(self._resampler.flush())
        self._shorten(padding)
        rest = self._end - self.timeline.position
        if self.decoded_count and self._bad_seconds and MIN_TAIL_SECONDS <= rest <= self._bad_seconds:
            self._fill(round(rest * SAMPLE_RATE))
            self.timeline.skip(rest)

    def _shorten(self, seconds: float) -> None:
        """Take sound away from the end of the queue."""
        count = round(seconds * SAMPLE_RATE)
        if count:
            self.timeline.skip(-seconds)
        while count and self._queue:
            last = self._queue.pop()
            kept = last[:, : max(0, last.shape[1] - count)]
            self.count -= last.shape[1] - kept.shape[1]
            count -= last.shape[1] - kept.shape[1]
            if kept.shape[1]:
                self._queue.append(kept)

    def fill_to(self, count: int) -> None:
        """Lengthen the queue by silence."""
        self._release()
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
            heard = piece[:, self._early :]
            self._early -= piece.shape[1] - heard.shape[1]
            self._queue.append(heard)
            self.count += heard.shape[1]

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
