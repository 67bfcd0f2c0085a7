"""The recordings that are joined in one file, and what is mended in their headers. Imports neither PyAV nor numpy."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from transcription.speech import boundaries, containers
from transcription.speech.errors import NotAudio

# A WAV with this tag states both how wide a sample lies in the file and how many of its upper bits are used. FFmpeg
# takes the second number for the first (findings/wav-24-in-32-bits-is-noise.sh).
WAVE_FORMAT_EXTENSIBLE = 0xFFFE

# So many files joined in one are read; the rest of the file counts to the last.
MAX_PARTS = 1_000
# Less than this behind the sound of a WAV is a tag without a head, no sound.
MIN_HIDDEN_BYTES = 4096
# Apple's CAF Specification 1.0, "Packet Table Chunk": what begins a CAF file, before the other chunks.
_CAF_HEAD_BYTES = 8
_MAX_CAF_CHUNKS = 64

# What an MP4 or MOV begins with. So many of its boxes are looked at, and so many entries of an edit list.
_MP4_HEADS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
MAX_BOXES = 100_000
MAX_EDITS = 1_000
_BEHIND_ALL_SOUND = b"\x7f\xff\xff\xff"

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


def of(file: BinaryIO, *, max_scanned: int = boundaries.MAX_SCANNED) -> list[Part]:
    """Return the recordings that were joined in one file, at least one. See `boundaries`.

    Raises NotAudio for a WAV that FFmpeg would read as another codec.
    """
    size = file.seek(0, 2)
    bounds = [0, *islice(boundaries.starts(file, size, max_scanned=max_scanned), MAX_PARTS - 1)]
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
    part.seek(0)
    if not size or part.size - rest_at < MIN_HIDDEN_BYTES or part.read(4) != b"RIFF":  # RF64 has its sizes elsewhere
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
    at, head = _wav_format(part)
    tag, width, used = (int.from_bytes(head[place : place + 2], "little") for place in (0, 14, 18))
    if tag != WAVE_FORMAT_EXTENSIBLE or not 0 < used < width:
        return ()
    return ((start + at + 18, width.to_bytes(2, "little")),)


def _wav_format(part: Part) -> tuple[int, bytes]:
    """Return (place, content) of what states the format of a WAV (RIFF, RF64 or W64), without bytes for other files."""
    part.seek(0)
    head = part.read(containers.HEAD_BYTES)
    if head[:4] == b"riff":
        at = head.find(b"fmt ") + 24
        content = head[at : at + 40] if at >= 24 else b""
    else:
        chunk = containers.wav_chunk(part, b"fmt ")
        at = chunk[0] + 8 if chunk is not None else 0
        part.seek(at)
        content = part.read(40) if chunk is not None else b""
    part.seek(0)
    return at, content


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


def is_unfinished_mp4(part: Part) -> bool:
    """Tell whether the part is an MP4 or MOV with sound or pictures and without an index, which is written last."""
    at, names = 0, set[bytes]()
    for _ in range(MAX_BOXES):
        part.seek(at)
        head = part.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        names.add(head[4:8])
        if length < 8:
            break
        at += length
        if at + 8 > part.size:
            break
    part.seek(0)
    return b"mdat" in names and not names & {b"moov", b"moof"}


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
    tag = int.from_bytes(_wav_format(part)[1][:2], "little")
    if tag in containers.WRONGLY_READ_WAV_TAGS:
        name = containers.WRONGLY_READ_WAV_TAGS[tag]
        raise NotAudio(
            f"The file is a WAV with the codec {name}, which we cannot read. "
            "Convert it to plain PCM, for example with sox."
        )
