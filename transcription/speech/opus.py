"""How long Opus packets are, by their first bytes, and the length of an Ogg file of them, by its pages.

An Opus packet may last 2.5 ms, so that hours are millions of packets, and libav takes 5 microseconds for each. A page
of Ogg holds up to 255 and says where it ends. Formats: RFC 6716 (3.1, 3.2), RFC 3533, RFC 7845. numpy is imported on
use.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from transcription.speech.parts import Part

SAMPLE_RATE = 48_000
MAX_PACKET_SAMPLES = 5_760
# The samples of one frame, by the upper 5 bits of the first byte.
_FRAME_SAMPLES = (*(480, 960, 1920, 2880) * 3, *(480, 960) * 2, *(120, 240, 480, 960) * 4)
# The number of frames, by the lower 2 bits; 0 where the second byte says it.
_FRAME_COUNTS = (1, 2, 2, 0)

_PAGE = struct.Struct("<4sBBqIIIB")
_READ_BYTES = 1 << 20
_CONTINUED, _BEGINS, _ENDS = 1, 2, 4
# Below so many packets a page, counting pages costs more than it saves. The first pages of a file decide.
_TRIAL_PAGES = 1_000
_MIN_PACKETS_PER_PAGE = 8
_REFLECTED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def packet_samples(head: Any) -> int:
    """Return the samples at 48 kHz of a packet, by its first two bytes (any buffer), 0 if it is none."""
    if not len(head):
        return 0
    count = _FRAME_COUNTS[head[0] & 3] or (head[1] & 63 if len(head) > 1 else 0)
    samples = _FRAME_SAMPLES[head[0] >> 3] * count
    return samples if samples <= MAX_PACKET_SAMPLES else 0


def length_of_ogg(part: Part) -> int | None:
    """Return the samples at 48 kHz of an Ogg file with one Opus stream, None unless its pages leave no doubt.

    Without doubt: whole pages with right checksums and no number missing, each ending as much later as its packets
    last; only the last packet may be cut. Of all other files the packets must be read. What an encoder puts before the
    start (pre-skip) is not counted.
    Leaves the part at its start.
    """
    try:
        return _Pages(part).length()
    except _Doubt:
        return None
    finally:
        part.seek(0)


@cache
def _samples_by_byte() -> Any:
    """Return int64 of shape (256,): the samples of a packet by its first byte.

    Where the second byte tells how many frames it has: the samples of one, negative.
    """
    import numpy as np

    return np.asarray([_FRAME_SAMPLES[byte >> 3] * (_FRAME_COUNTS[byte & 3] or -1) for byte in range(256)])


class _Doubt(Exception):
    """The pages do not tell the length."""


@dataclass(frozen=True, slots=True)
class _Page:
    flags: int
    granule: int
    sizes: bytes
    body: bytes


class _Pages:
    """Reads the pages of a part one after another."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._buffer = memoryview(b"")
        self._at = 0
        self._serial: int | None = None
        self._number = 0
        self._open_samples = 0  # of a packet that goes on in the next page
        part.seek(0)

    def length(self) -> int:
        head = self._next()
        if head is None or not head.flags & _BEGINS or not head.body.startswith(b"OpusHead") or len(head.body) < 19:
            raise _Doubt
        self._skip_tags()
        start = end = pages = packets = 0
        pre_skip = int.from_bytes(head.body[10:12], "little")
        has_ended = False
        while (page := self._next()) is not None:
            if has_ended:
                raise _Doubt
            samples, last_samples, count = self._measure(page)
            pages += 1
            if pages == _TRIAL_PAGES and packets < _MIN_PACKETS_PER_PAGE * pages:
                raise _Doubt
            has_ended = bool(page.flags & _ENDS)
            if not count:
                if page.granule != -1:
                    raise _Doubt
                continue
            if not packets and not has_ended:
                start = end = page.granule - samples
            missing = end + samples - page.granule
            if missing and not (has_ended and 0 < missing < last_samples):
                raise _Doubt
            end = page.granule
            packets += count
        if start < 0 or pre_skip - start >= SAMPLE_RATE:
            raise _Doubt
        return max(0, end - max(start, pre_skip))

    def _skip_tags(self) -> None:
        while (page := self._next()) is not None:
            if page.granule not in (0, -1):
                break
            if any(size < 255 for size in page.sizes):
                if page.sizes[-1] < 255 and sum(size < 255 for size in page.sizes) == 1:
                    return
                break
        raise _Doubt

    def _measure(self, page: _Page) -> tuple[int, int, int]:
        """Return (samples of the packets that end in the page, samples of the last of these, how many these are)."""
        import numpy as np

        sizes = np.frombuffer(page.sizes, dtype=np.uint8)
        is_continued = bool(page.flags & _CONTINUED)
        if not len(sizes) or is_continued != bool(self._open_samples):
            raise _Doubt
        last = np.flatnonzero(sizes < 255)  # the segments that end a packet
        first = np.concatenate(([] if is_continued else [0], last + 1)).astype(np.int64)
        first = first[first < len(sizes)]
        if not sizes[first].all():
            raise _Doubt  # an empty packet
        body = np.frombuffer(page.body, dtype=np.uint8)
        starts = (np.cumsum(sizes, dtype=np.int64) - sizes)[first]
        samples = _samples_by_byte()[body[starts]]
        is_told_later = samples < 0
        if is_told_later.any():
            if (sizes[first][is_told_later] < 2).any():
                raise _Doubt
            samples[is_told_later] *= -(body[starts[is_told_later] + 1].astype(np.int64) & 63)
        if len(samples) and not 0 < samples.min() <= samples.max() <= MAX_PACKET_SAMPLES:
            raise _Doubt
        if not is_continued and len(samples) == len(last):
            return int(samples.sum()), int(samples[-1]), len(last)
        lengths = samples.tolist()
        if is_continued and len(last):
            lengths.insert(0, self._open_samples)
            self._open_samples = 0
        if len(lengths) > len(last):
            self._open_samples = lengths.pop()
        return sum(lengths), lengths[-1] if lengths else 0, len(last)

    def _next(self) -> _Page | None:
        """Return the next page, None at the end of the part."""
        head = self._take(_PAGE.size)
        if head is None:
            return None
        mark, version, flags, granule, serial, number, checksum, count = _PAGE.unpack(head)
        sizes = self._take(count)
        body = self._take(sum(sizes)) if sizes is not None else None
        if mark != b"OggS" or version or sizes is None or body is None:
            raise _Doubt
        if self._serial is None:
            self._serial = serial
        if serial != self._serial or number != self._number:
            raise _Doubt
        self._number += 1
        if checksum != _checksum(b"".join((head[:22], bytes(4), head[26:], sizes, body))):
            raise _Doubt
        return _Page(flags, granule, sizes, body)

    def _take(self, count: int) -> bytes | None:
        """Return the next bytes, None if there is not one. Raises _Doubt if there are fewer."""
        if self._at + count > len(self._buffer):
            rest = bytes(self._buffer[self._at :])
            self._buffer = memoryview(rest + self._part.read(_READ_BYTES))
            self._at = 0
        taken = bytes(self._buffer[self._at : self._at + count])
        self._at += count
        if len(taken) < count:
            if taken or count != _PAGE.size:
                raise _Doubt
            return None
        return taken


def _checksum(page: bytes) -> int:
    """Return the CRC of a page: that of zlib, with the bits in the other order, without its two inversions."""
    found = zlib.crc32(page.translate(_REFLECTED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2)
