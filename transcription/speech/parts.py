"""The recordings that are joined in one file, and what is mended in their headers. Imports neither PyAV nor numpy."""

from __future__ import annotations

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

    Chained Ogg streams (FFmpeg stops where they change the number of channels), WAV, AIFF and MP4 files behind each
    other (FFmpeg reads the first). With joined Matroska files FFmpeg goes on by itself, and most of the other formats
    have no header that would have to come again.
    Raises NotAudio for a WAV that FFmpeg would read as another codec.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    starts: Iterator[int] = iter(())
    if head[:4] == b"OggS":
        starts = _ogg_starts(file, size)
    elif head[:4] in (b"RIFF", b"FORM"):
        starts = _riff_starts(file, size, is_little=head[:4] == b"RIFF")
    elif head[4:8] == b"ftyp":
        starts = _mp4_starts(file, size)
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
    patches = _sample_width_patches(part, start)
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
    """Yield where another file of the same kind begins, right behind the end that the header states."""
    at = 0
    while at + 12 <= size:
        file.seek(at)
        head = file.read(12)
        if at:
            if head[:4] != (b"RIFF" if is_little else b"FORM") or head[8:12] not in (b"WAVE", b"AIFF", b"AIFC"):
                return
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
