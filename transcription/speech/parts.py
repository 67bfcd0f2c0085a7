"""The recordings that are joined in one file, and what is mended in their headers. Imports neither PyAV nor numpy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from transcription.speech import containers
from transcription.speech.errors import NotAudio

# A WAV with this tag states both how wide a sample lies in the file and how many of its upper bits are used. FFmpeg
# takes the second number for the first (findings/wav-24-in-32-bits-is-noise.sh).
WAVE_FORMAT_EXTENSIBLE = 0xFFFE

# A crafted file has millions of pages or boxes of a few bytes. 10 hours have about a million.
MAX_SCANNED = 4_000_000
# So many files joined in one are read; the rest of the file counts to the last.
MAX_PARTS = 1_000
# Less than this behind the sound of a WAV is a tag without a head, no sound.
MIN_HIDDEN_BYTES = 4096
# Apple's CAF Specification 1.0, "Packet Table Chunk": what begins a CAF file, before the other chunks.
_CAF_HEAD_BYTES = 8
_MAX_CAF_CHUNKS = 64

_RIFF_KINDS = (b"WAVE", b"AVI ", b"AVIX", b"AIFF", b"AIFC")

# What an MP4 or MOV begins with. So many of its boxes are looked at, and so many entries of an edit list.
_MP4_HEADS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
MAX_BOXES = 100_000
MAX_EDITS = 1_000
_BEHIND_ALL_SOUND = b"\x7f\xff\xff\xff"

_SEARCHED_BYTES = 1 << 20
_MAX_MARK_BYTES = 64
# Bit 11 of a WavPack block's flags is set in the first of the blocks that hold the channels of one moment.
_WAVPACK_FIRST_FLAGS = re.escape(bytes(byte for byte in range(256) if byte & 8))


def _mark(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


# What a file begins with: (bytes to search for, pattern that must match there). They are so long that chance makes none
# of them inside a recording. Of WavPack, whose blocks all begin alike, it is the block of the first sample. Layouts: as
# libavformat's demuxers read them (FFmpeg 8.1).
_MARKS = (
    # W64
    (b"riff\x2e\x91", _mark(rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00.{8}wave\xf3\xac\xd3\x11")),
    # ASF, which WMA is
    (b"\x30\x26\xb2\x75", _mark(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c")),
    (b"caff", _mark(rb"caff\x00\x01\x00\x00desc")),
    (b"FLV\x01", _mark(rb"FLV\x01[\x00-\x07]\x00\x00\x00\x09\x00\x00\x00\x00")),
    (b"wvpk", _mark(rb"wvpk.{4}[\x02-\x10]\x04.\x00.{4}\x00{4}(?!\x00{4}).{4}.[" + _WAVPACK_FIRST_FLAGS + rb"]")),
    (b"#!AMR", _mark(rb"#!AMR(-WB)?\n")),
    # AU: places, codec and rate below 2^16, and at most 16 channels
    (b".snd\0", _mark(rb"\.snd\x00\x00[\x00-\x10].{5}\x00{3}[\x01-\x1b]\x00\x00.{2}\x00{3}[\x01-\x10]")),
    (b"fLaC", _mark(rb"fLaC[\x00\x80]\x00\x00\x22.{4}\x00")),
    (b"TTA1", _mark(rb"TTA1[\x01-\x03]\x00[\x01-\x40]\x00[\x08-\x20]\x00")),
    (b".RMF", _mark(rb"\.RMF\x00\x00\x00\x12\x00[\x00\x01]")),
    (b"nut/", _mark(rb"nut/multimedia container\x00")),
    (b"Creative", _mark(rb"Creative Voice File\x1a\x1a\x00")),
)  # fmt: skip
_EBML = (b"\x1a\x45\xdf\xa3", _mark(rb"\x1a\x45\xdf\xa3[\x01\x80-\xfe].{0,12}?\x42\x86\x81\x01"))

# (place in the file, bytes to read there instead)
Patch = tuple[int, bytes]


class Part:
    """A stretch of a file that is read like a file of its own. Some bytes may be replaced, to mend a header.

    One part of a file is read at a time: all share the file's position.
    """

    def __init__(
        self, file: BinaryIO, start: int, end: int, *, patches: tuple[Patch, ...] = (), is_mended: bool = False
    ) -> None:
        """patches: (place in the file, bytes to read there instead). is_mended: the header stated too little."""
        self.is_mended = is_mended
        self.size = end - start
        self._file, self._start, self._end, self._patches = file, start, end, patches
        self._at = start

    def read(self, count: int = -1) -> bytes:
        left = self._end - self._at
        count = left if count < 0 else max(0, min(count, left))
        self._file.seek(self._at)
        content = self._file.read(count)
        for place, new in self._patches:
            if place >= self._at + len(content) or place + len(new) <= self._at:
                continue
            for index, byte in enumerate(new):
                if 0 <= place + index - self._at < len(content):
                    at = place + index - self._at
                    content = content[:at] + bytes([byte]) + content[at + 1 :]
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (self._start, self._at, self._end)[whence]
        self._at = min(max(self._start, base + offset), self._end)
        return self._at - self._start

    def tell(self) -> int:
        return self._at - self._start


def of(file: BinaryIO) -> list[Part]:
    """Return the recordings that were joined in one file, at least one. Programs join files byte by byte.

    Chained Ogg streams (FFmpeg stops where they change the number of channels), Matroska files (it stops behind the
    second), and WAV, AVI, AIFF, MP4 and the formats of `_MARKS` (it reads the first, or takes headers for sound).
    FFmpeg goes on by itself in MP3, AAC, AC-3 and MPEG streams.
    Raises NotAudio for a WAV that FFmpeg would read as another codec.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(_MAX_MARK_BYTES)
    starts: Iterator[int] = iter(())
    if head[:4] == b"OggS":
        starts = _ogg_starts(file, size)
    elif head[:4] in (b"RIFF", b"FORM"):
        starts = _riff_starts(file, size, is_little=head[:4] == b"RIFF")
    elif head[4:8] == b"ftyp":
        starts = _mp4_starts(file, size)
    elif _EBML[1].match(head):
        starts = _matroska_starts(file)
    else:
        for mark, pattern in _MARKS:
            if pattern.match(head):
                starts = _marked_starts(file, 1, mark=mark, pattern=pattern)
    bounds = [0]
    for start in starts:
        bounds.append(start)
        if len(bounds) == MAX_PARTS:
            break
    found = [_mended(file, start, end) for start, end in zip(bounds, [*bounds[1:], size], strict=True)]
    file.seek(0)
    return found


def _mended(file: BinaryIO, start: int, end: int) -> Part:
    """Return the part. A WAV whose size field is too small, with sound after it, is read to the end."""
    part = Part(file, start, end)
    patches = _sample_width_patches(part, start) + _packet_table_patches(part, start) + _pause_patches(part, start)
    if patches:
        part = Part(file, start, end, patches=patches)
    chunk = containers.wav_data(part)
    if chunk is None:
        return part
    _refuse_wrongly_read(part)
    at, size = chunk
    rest_at = at + 8 + size + size % 2
    if not 0 < size < containers.MIN_UNKNOWN_WAV_SIZE or part.size - rest_at < MIN_HIDDEN_BYTES:
        return part
    part.seek(rest_at)
    name, length = part.read(4), int.from_bytes(part.read(4), "little")
    part.seek(0)
    is_chunk = name.isascii() and name.decode("ascii").isprintable() and rest_at + 8 + length <= part.size + 1
    if is_chunk:
        return part
    return Part(file, start, end, patches=(*patches, (start + at + 4, b"\xff\xff\xff\xff")), is_mended=True)


def _sample_width_patches(part: Part, start: int) -> tuple[Patch, ...]:
    """Return what makes the number of used bits of a WAV (RIFF, RF64 or W64) the width of a sample. See above."""
    part.seek(0)
    head = part.read(containers.HEAD_BYTES)
    part.seek(0)
    if head[:4] not in (b"RIFF", b"RF64", b"riff"):
        return ()
    at = head.find(b"fmt ") + (24 if head.startswith(b"riff") else 8)
    tag, width, used = (int.from_bytes(head[at + place : at + place + 2], "little") for place in (0, 14, 18))
    if tag != WAVE_FORMAT_EXTENSIBLE or not 0 < used < width:
        return ()
    return ((start + at + 18, width.to_bytes(2, "little")),)


def _packet_table_patches(part: Part, start: int) -> tuple[Patch, ...]:
    """Return what mends the packet table of a CAF that counts a whole packet as missing from the last one.

    libsndfile writes it so where the last packet of ALAC is full, and FFmpeg then drops that packet
    (findings/caf-alac-last-frames.sh).
    """
    part.seek(0)
    if part.read(4) != b"caff":
        return ()
    at, packet_frames = _CAF_HEAD_BYTES, 0
    for _ in range(_MAX_CAF_CHUNKS):
        part.seek(at)
        head = part.read(12 + 32)
        kind, length = head[:4], int.from_bytes(head[4:12], "big", signed=True)
        if kind == b"desc":
            packet_frames = int.from_bytes(head[32:36], "big")
        if kind == b"pakt" and 0 < packet_frames <= int.from_bytes(head[32:36], "big"):
            return ((start + at + 32, bytes(4)),)
        if len(head) < 12 or length < 0:
            break
        at += 12 + length
    part.seek(0)
    return ()


def _pause_patches(part: Part, start: int) -> tuple[Patch, ...]:
    """Return what makes pauses of the pauses in the edit lists of an MP4: a place behind all sound.

    FFmpeg takes the -1 that stands for a pause, unless it is the first entry, for a place in the sound, and plays the
    beginning of the recording there (findings/mp4-pause-repeats-the-beginning.sh). Layout: ISO/IEC 14496-12, 8.6.6.
    """
    part.seek(0)
    if part.read(8)[4:] not in _MP4_HEADS:
        return ()
    patches: list[Patch] = []
    for at, end in _boxes(
        part, 0, part.size, names=(b"moov", b"trak", b"edts", b"elst"), budget=iter(range(MAX_BOXES))
    ):
        part.seek(at)
        table = part.read(min(end - at, 8 + 20 * MAX_EDITS))
        # An entry has a length and a place of one width, and a rate of 4 bytes.
        width = 8 if table[:1] == b"\1" else 4
        size = 2 * width + 4
        patches += [
            (start + at + entry + width, _BEHIND_ALL_SOUND.rjust(width, b"\0"))
            for entry in range(8 + size, len(table) - size + 1, size)
            if table[entry + width : entry + 2 * width] == b"\xff" * width
        ]
    part.seek(0)
    return tuple(patches[:MAX_EDITS])


def _boxes(
    part: Part, at: int, end: int, *, names: tuple[bytes, ...], budget: Iterator[int]
) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of the content of the boxes with the last name, each inside one with the name before it.

    budget: so many boxes are looked at.
    """
    while at + 8 <= end and next(budget, None) is not None:
        part.seek(at)
        head = part.read(16)
        length, begin = int.from_bytes(head[:4], "big"), at + 8
        if length == 1:
            length, begin = int.from_bytes(head[8:], "big"), at + 16
        if length < begin - at:
            return
        inner = min(end, at + length)
        if head[4:8] == names[0] and len(names) > 1:
            yield from _boxes(part, begin, inner, names=names[1:], budget=budget)
        elif head[4:8] == names[0]:
            yield begin, inner
        at += length


def _refuse_wrongly_read(part: Part) -> None:
    part.seek(0)
    head = part.read(containers.HEAD_BYTES)
    part.seek(0)
    at = head.find(b"fmt ")
    tag = int.from_bytes(head[at + 8 : at + 10], "little") if at >= 0 else 0
    if tag in containers.WRONGLY_READ_WAV_TAGS:
        name = containers.WRONGLY_READ_WAV_TAGS[tag]
        raise NotAudio(
            f"The file is a WAV with the codec {name}, which we cannot read. "
            "Convert it to plain PCM, for example with sox."
        )


def _ogg_starts(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield where a new chain begins: at a page that begins a stream, behind a page that does not.

    Format: RFC 3533. A page has a head of 27 bytes, a table of segment sizes, and the segments.
    """
    at, has_content = 0, False
    for _ in range(MAX_SCANNED):
        if at + 27 > size:
            return
        file.seek(at)
        head = file.read(27 + 255)
        if head[:4] != b"OggS":
            return  # damaged: libav finds the next page itself
        begins = bool(head[5] & 2)
        if begins and has_content:
            yield at
            has_content = False
        has_content = has_content or not begins
        count = head[26]
        at += 27 + count + sum(head[27 : 27 + count])


def _riff_starts(file: BinaryIO, size: int, *, is_little: bool) -> Iterator[int]:
    """Yield where another file of the same kind begins, right behind the end that the header states.

    An AVI of more than 1 GB goes on in chunks of the kind AVIX (OpenDML AVI File Format Extensions 1.02).
    """
    at = 0
    while at + 12 <= size:
        file.seek(at)
        head = file.read(12)
        if at:
            if head[:4] != (b"RIFF" if is_little else b"FORM") or head[8:12] not in _RIFF_KINDS:
                return
            if head[8:12] != b"AVIX":
                yield at
        length = int.from_bytes(head[4:8], "little" if is_little else "big")
        if length < 4 or length >= containers.MIN_UNKNOWN_WAV_SIZE:
            return
        at += 8 + length + length % 2


def _mp4_starts(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield where another MP4 begins: at a box `ftyp`, when the boxes before it held a whole one (`moov`)."""
    at = last = 0
    has_index = False
    pending: int | None = None
    for _ in range(MAX_SCANNED):
        if at + 8 > size:
            return
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if kind == b"ftyp" and at > last and has_index:
            pending, has_index = at, False
        if kind == b"moov":
            has_index = True
            if pending is not None:
                yield pending
                last, pending = pending, None
        if length < 8:
            return
        at += length


def _matroska_starts(file: BinaryIO) -> Iterator[int]:
    """Yield where another Matroska or WebM begins: at a header behind a segment.

    Browsers and streaming sites state no size of the segment. Its end is then where the next header is found. Format:
    RFC 8794 (EBML) and RFC 9559.
    """
    at, has_segment = 0, False
    mark, pattern = _EBML
    for _ in range(MAX_SCANNED):
        file.seek(at)
        head = file.read(12)
        if len(head) < 2:
            return
        if head.startswith(mark) and has_segment:
            yield at
            has_segment = False
        id_bytes = 9 - head[0].bit_length()
        size_bytes = 9 - head[id_bytes].bit_length() if len(head) > id_bytes else 9
        if id_bytes > 4 or size_bytes > 8:
            return
        length = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & (1 << 7 * size_bytes) - 1
        has_segment = has_segment or head.startswith(b"\x18\x53\x80\x67")
        if length == (1 << 7 * size_bytes) - 1:
            yield from _marked_starts(file, at + 1, mark=mark, pattern=pattern)
            return
        at += id_bytes + size_bytes + length


def _marked_starts(file: BinaryIO, at: int, *, mark: bytes, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Yield where the mark is found, from a place on.

    With a bound on how often: after MAX_SCANNED marks that the pattern does not match, nothing more is searched.
    """
    scanned = 0
    buffer = b""
    while True:
        file.seek(at + len(buffer))
        new = file.read(_SEARCHED_BYTES)
        buffer += new
        begin = 0
        while (found := buffer.find(mark, begin)) >= 0 and (not new or found + _MAX_MARK_BYTES <= len(buffer)):
            scanned += 1
            if scanned > MAX_SCANNED:
                return
            if pattern.match(buffer, found):
                yield at + found
            begin = found + 1
        if not new:
            return
        keep = max(begin, len(buffer) - _MAX_MARK_BYTES) if found < 0 else found
        at, buffer = at + keep, buffer[keep:]
