"""How long a track is by its packets, of which few are decoded.

Containers round the lengths that they state, or state none. So the first packets of a track are decoded, to learn how
long a packet is, and some of the later ones to check it.
"""

from __future__ import annotations

from typing import Any

from transcription.speech import containers, demuxing, opus
from transcription.speech.timeline import MAX_PACKET_SECONDS, MAX_ROUNDING_SECONDS, Timeline

# So many packets are decoded at the start of a track. The first ones of many codecs are shorter or give nothing.
TRIAL_PACKETS = 40
MIN_TRIAL_FRAMES = 4
# Later the last of so many packets in a row is compared, as often as this: a track may change its sample rate.
CHECK_EVERY = 100
CHECKED_PACKETS = 3
# LATM states its sample rate in every twentieth packet or so, and nothing decodes before.
CHECKED_LATM_PACKETS = 24
# Frames of these differ in length, and their demuxers know it. The others have frames of one length.
CODECS_WITH_ANY_LENGTH = frozenset({"flac", "opus", "vorbis", "wavpack", "speex"})


class PacketMeter:
    """Measures one track by its packets. Decodes some of them, to learn how long a packet is.

    A track is `is_doubtful` when the packets do not tell: they state no length, or another one than they decode to.
    """

    def __init__(self, stream: Any, timeline: Timeline) -> None:
        self.timeline = timeline
        self.packets = 0
        self.is_decodable = self.is_doubtful = self.is_learned = False
        self._context = stream.codec_context
        self._has_one_length = self._context.name not in CODECS_WITH_ANY_LENGTH
        # (start, seconds stated, seconds by its first bytes, bytes, seconds decoded) of each packet until it is learned
        self._waiting: list[tuple[float | None, float | None, float | None, int, float]] = []
        self._is_opus = self._context.name == "opus"
        self._checked = CHECKED_LATM_PACKETS if self._context.name == "aac_latm" else CHECKED_PACKETS
        self._frame_seconds: float | None = None
        self._seconds_per_byte: float | None = None
        self._is_told = False  # the first bytes of a packet tell its length
        self._tries = 0
        self._is_suspect = False
        # (start, seconds, stated seconds) of the packet before: the last of all is treated apart
        self._last: tuple[float | None, float | None, float | None] | None = None

    def lose(self, seconds: float) -> None:
        """Add sound that is lost."""
        self.timeline.skip(seconds)

    def add(self, packet: Any, start: float | None, seconds_stated: float) -> None:
        """Add one packet of the track. What an edit list cuts away is decoded for the sake of its neighbours only."""
        if packet.is_discard:
            return
        self.packets += 1
        # The last packet of all may decode to less than its length, because of padding that is not heard.
        self.is_doubtful = self.is_doubtful or self._is_suspect
        stated = seconds_stated if 0 < seconds_stated <= MAX_PACKET_SECONDS else None
        told = opus.packet_samples(memoryview(packet)) / opus.SAMPLE_RATE or None if self._is_opus else None
        if not self.is_learned:
            decoded = self._try(packet)
            self._waiting.append((start, stated, told, packet.size, decoded))
            if len(self._waiting) >= TRIAL_PACKETS:
                self._learn()
            return
        seconds = self._length(stated, told, packet.size)
        if self._last is not None:
            self._place(*self._last)
        self._last = None
        place = self.packets % CHECK_EVERY
        if place < self._checked:
            decoded = self._try(packet)
            if place == self._checked - 1 and decoded and seconds and not self._agree(decoded, seconds):
                self._is_suspect = True
        self._last = (start, seconds, stated)

    def end(self) -> None:
        """Add the packets that wait. A last packet that states less than the others has padding that is not heard."""
        if not self.is_learned:
            self._learn()
        if self._last is not None:
            start, seconds, stated = self._last
            self._place(start, min(seconds, stated) if seconds and stated else seconds, stated)
        self.timeline.end()

    def _place(self, start: float | None, seconds: float | None, _: float | None) -> None:
        self.timeline.add(start, seconds)

    def _try(self, packet: Any) -> float:
        """Return the seconds that the packet decodes to."""
        pauses = self._context.name in containers.CODECS_WITH_PAUSES
        if not self.is_decodable and self._tries >= demuxing.MAX_BAD_PACKETS_AT_START and not pauses:
            return 0.0
        self._tries += 1
        found: float = sum(frame.samples / frame.sample_rate for frame in decoded_frames(packet) if frame.sample_rate)
        self.is_decodable = self.is_decodable or found > 0
        return found

    def _learn(self) -> None:
        """Decide how the packets are measured, and add those that waited."""
        frames = [one for one in self._waiting if one[-1] > 0][1:]
        decoded = [one[-1] for one in frames]
        total = sum(decoded)
        if len(frames) >= MIN_TRIAL_FRAMES and self._has_one_length:
            if max(decoded) - min(decoded) < 1e-6:
                self._frame_seconds = max(decoded)
            rates = [seconds / size for *_, size, seconds in frames if size]
            if self._context.name.startswith(("pcm_", "adpcm_", "g72")) and max(rates) - min(rates) < 1e-9:
                self._seconds_per_byte = rates[0]
        self._is_told = (
            self._is_opus and bool(frames) and self._agree(total, sum(told or 0.0 for _, _, told, _, _ in frames))
        )
        lengths = [self._length(stated, told, size) for _, stated, told, size, _ in frames]
        has_all = all(seconds is not None for seconds in lengths)
        if self.is_decodable and not (has_all and self._agree(total, sum(seconds or 0.0 for seconds in lengths))):
            self.is_doubtful = True
        self.is_learned = True
        measured = [(start, self._length(stated, told, size), stated) for start, stated, told, size, _ in self._waiting]
        for one in measured[:-1]:
            self._place(*one)
        self._last = measured[-1] if measured else None
        self._waiting = []

    def _length(self, stated: float | None, told: float | None, size: int) -> float | None:
        """Return the seconds of a packet, None if nobody knows."""
        if self._is_told:
            return told
        if self._seconds_per_byte is not None:
            return self._seconds_per_byte * size
        return self._frame_seconds if self._frame_seconds is not None else stated

    @staticmethod
    def _agree(decoded: float, counted: float) -> bool:
        return abs(decoded - counted) <= MAX_ROUNDING_SECONDS + 0.02 * max(decoded, counted)


def decoded_frames(packet: Any) -> list[Any]:
    """Return the frames of a packet, none if it does not decode."""
    import av

    try:
        frames: list[Any] = packet.decode()
    except (av.FFmpegError, EOFError, ValueError, MemoryError):
        return []
    return frames
