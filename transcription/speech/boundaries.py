"""Finds where in a file another recording begins. Imports neither PyAV nor numpy.

Programs and people join recordings byte by byte. FFmpeg then reads the first, or the first two, or takes headers for
sound. It goes on by itself in MP3, AAC, AC-3 and MPEG streams of one kind. Decisions 40, 67 and 73 say how the others
are found: a format that states its lengths is walked, and what is behind its end may be a recording of any format. In
the others, what a recording begins with is searched for.
"""

from __future__ import annotations

import heapq
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import BinaryIO, NamedTuple

from transcription.speech import containers, signatures, transport_streams

# A crafted file has millions of pages or boxes of a few bytes. 10 hours have about a million.
MAX_SCANNED = 4_000_000
SEARCHED_BYTES = 1 << 20
_MAX_MARK_BYTES = 64

# Bit 11 of a WavPack block's flags is set in the first of the blocks that hold the channels of one moment.
_WAVPACK_FIRST_FLAGS = re.escape(bytes(byte for byte in range(256) if byte & 8))


class _Mark(NamedTuple):
    """What a recording begins with: bytes to search for, `before` bytes behind the begin, where the pattern matches."""

    content: bytes
    pattern: re.Pattern[bytes]
    before: int = 0


def _mark(content: bytes, pattern: bytes, *, before: int = 0) -> _Mark:
    return _Mark(content, re.compile(pattern, re.DOTALL), before)


# They are so long that chance makes none of them inside a recording. Of WavPack, whose blocks all begin alike, it is
# the block of the first sample. Layouts: as libavformat's demuxers read them (FFmpeg 8.1).
_ASF = _mark(b"\x30\x26\xb2\x75", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c")
_CAF = _mark(b"caff", rb"caff\x00\x01\x00\x00desc")
_AMR = _mark(b"#!AMR", rb"#!AMR(-WB)?\n")
_FLAC = _mark(b"fLaC", rb"fLaC[\x00\x80]\x00\x00\x22.{4}\x00")
_EBML = _mark(b"\x1a\x45\xdf\xa3", rb"\x1a\x45\xdf\xa3[\x01\x80-\xfe].{0,12}?\x42\x86\x81\x01")
_W64 = _mark(b"riff\x2e\x91", rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00.{8}wave\xf3\xac\xd3\x11")
_FLV = _mark(b"FLV\x01", rb"FLV\x01[\x00-\x07]\x00\x00\x00\x09\x00\x00\x00\x00")
_WAVPACK = _mark(b"wvpk", rb"wvpk.{4}[\x02-\x10]\x04.\x00.{4}\x00{4}(?!\x00{4}).{4}.[" + _WAVPACK_FIRST_FLAGS + rb"]")
# What is searched for in a recording of the same format.
_MARKS = (
    _AMR,
    # AU: places, codec and rate below 2^16, and at most 16 channels
    _mark(b".snd\0", rb"\.snd\x00\x00[\x00-\x10].{5}\x00{3}[\x01-\x1b]\x00\x00.{2}\x00{3}[\x01-\x10]"),
    _FLAC,
    _mark(b"TTA1", rb"TTA1[\x01-\x03]\x00[\x01-\x40]\x00[\x08-\x20]\x00"),
    _mark(b".RMF", rb"\.RMF\x00\x00\x00\x12\x00[\x00\x01]"),
    _mark(b"nut/", rb"nut/multimedia container\x00"),
    _mark(b"Creative", rb"Creative Voice File\x1a\x1a\x00"),
)  # fmt: skip
# What is searched for in streams that hold nothing but frames. Containers may hold these as part of a track.
_FOREIGN = (
    _mark(b"WAVE", rb"(RIFF|RF64|BW64).{4}WAVE[A-Za-z][A-Za-z0-9 ]{3}", before=8),
    _mark(b"FORM", rb"FORM.{4}AIF[FC]"),
    _mark(b"ftyp", rb"\x00{3}[\x0c-\x80]ftyp[ -~]{4}", before=4),
    _mark(b"OggS\0\x02", rb"OggS\x00\x02\x00{8}"),
    _ASF,
    _CAF,
    _AMR,
    _FLAC,
    _EBML,
    _W64,
)
_STREAMS_WITH_MARKS = (_AMR, _FLAC)
# Tags lie in a stream of frames where files were joined, and behind the last one. They hold pictures and other files.
_TAGS = (
    _mark(b"ID3", rb"ID3[\x02-\x04]\x00[\x00-\xf0][\x00-\x7f]{4}"),
    _mark(b"APETAGEX", rb"APETAGEX[\xd0\xe8][\x03\x07]\x00\x00"),
)
_ID3_HAS_FOOTER, _APE_HAS_HEADER, _APE_IS_HEADER = 0x10, 1 << 31, 1 << 29
_APE_END_BYTES = 32
_ID3V1_BYTES = 128
# At the end of a file there may be one of each kind.
_MAX_TAGS_AT_END = 3
# Of the file before and of the one that begins.
_MAX_TAGS_BEFORE = 4
# The chunks of a W64 but for the first one have names that end so (Sony Wave64, as sox and libsndfile write it).
_W64_NAME_END = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
# The objects of an ASF file: header, data, and four kinds of indexes (ASF Specification 1.20, section 10.1).
_ASF_OBJECTS = tuple(
    bytes.fromhex(name)
    for name in (
        "3026b2758e66cf11a6d900aa0062ce6c", "3626b2758e66cf11a6d900aa0062ce6c", "90080033b1e5cf1189f400a0c90349cb",
        "d329e2d6da35d111903400a0c90349be", "f803b1fead12644c840f2a1d2f7ad48c", "d03fb73c4a0c0348953dedf7b6228f0c",
    )
)  # fmt: skip
# Apple's CAF Specification 1.0, table 2-1.
_CAF_CHUNKS = (
    b"desc", b"data", b"pakt", b"chan", b"kuki", b"free", b"info", b"strg", b"mark", b"regn", b"umid", b"ovvw", b"peak",
    b"edct", b"midi", b"inst", b"uuid",
)  # fmt: skip
# The tags of an FLV: sound, pictures, script (Adobe Flash Video File Format 10.1, E.4.1).
_FLV_TAGS = (8, 9, 18)
_CHUNK_HEAD_BYTES = 64
# The first bytes of the elements that a Matroska file has on its two upper levels (RFC 9559, section 5).
_MATROSKA_HEADS = b"\x1a\x18\xec\xbf\x11\x15\x16\x1f\x1c\x19\x10\x12"


def starts(file: BinaryIO, size: int, *, max_scanned: int = MAX_SCANNED) -> Iterator[int]:
    """Yield the places at which another recording begins, behind the first.

    max_scanned: so many pages, boxes or marks are looked at.
    """
    budget = iter(range(max_scanned))
    at = 0
    while (following := _next(file, at, size, budget=budget)) is not None:
        yield following
        at = following


def _next(file: BinaryIO, at: int, size: int, *, budget: Iterator[int]) -> int | None:
    """Return where the next recording begins, behind the one that begins at `at`."""
    file.seek(at)
    head = file.read(signatures.HEAD_BYTES)
    if head[:4] == b"OggS":
        return _behind_ogg(file, at, size, budget=budget)
    if head[:4] in (b"RIFF", b"FORM", b"RF64", b"BW64"):
        return _behind_riff(file, at, size, budget=budget)
    if head[4:8] == b"ftyp":
        return _behind_mp4(file, at, size, budget=budget)
    if _EBML.pattern.match(head):
        return _behind_matroska(file, at, budget=budget)
    if (layout := transport_streams.layout_of(head)) is not None:
        return transport_streams.next_change(file, at, layout=layout, budget=budget)
    for mark, skipped, length_of in _CHUNKED:
        if mark.pattern.match(head):
            return _behind_chunks(file, at, size, mark=mark, skipped=skipped, length_of=length_of, budget=budget)
    for mark in _MARKS:
        if mark.pattern.match(head):
            begin = _behind_flac_metadata(file, at) if mark is _FLAC else at + 1
            if mark in _STREAMS_WITH_MARKS:
                return _behind_frames(file, begin, size, budget=budget)
            return _search(file, begin, marks=(mark,), budget=budget)
    begin = _behind_tag(file, at)
    file.seek(begin)
    if signatures.is_stream(file.read(signatures.HEAD_BYTES)):
        return _behind_frames(file, begin + 1, size, budget=budget)
    return None


def _begin(file: BinaryIO, at: int) -> int | None:
    """Return where the recording of any format begins that is here, behind tags or without any; None if none is.

    FFmpeg jumps over an ID3v2 tag, and not over an APEv2 tag, which is that of the file before.
    """
    begin = at
    for _ in range(_MAX_TAGS_BEFORE):
        file.seek(at)
        is_id3 = file.read(3) == b"ID3"
        behind = _behind_tag(file, at)
        if behind == at:
            break
        at, begin = behind, begin if is_id3 else behind
    file.seek(at)
    head = file.read(signatures.HEAD_BYTES)
    return begin if head and signatures.has_container(head) else None


def _behind_tag(file: BinaryIO, at: int) -> int:
    """Return where an ID3v2 or APEv2 tag ends, `at` without one."""
    file.seek(at)
    return at + _tag_bytes(file.read(_APE_END_BYTES))


def _tag_bytes(head: bytes) -> int:
    """Return the length of the tag that begins so, 0 if none does.

    Layouts: id3.org, ID3 tag version 2.4.0, section 3.1; wiki.hydrogenaudio.org, APE Tags Header, read 2026-11-30.
    """
    if head[:3] == b"ID3" and len(head) >= 10:
        return 10 + containers.id3_bytes(head) + (10 if head[5] & _ID3_HAS_FOOTER else 0)
    if head[:8] == b"APETAGEX" and len(head) == _APE_END_BYTES:
        length, flags = int.from_bytes(head[12:16], "little"), int.from_bytes(head[20:24], "little")
        return _APE_END_BYTES + (length if flags & _APE_IS_HEADER else 0)
    return 0


def _without_tags(file: BinaryIO, size: int) -> int:
    """Return where a file of this size ends without the tags at its end that are found from behind only.

    An APEv2 tag need not have a header.
    """
    end = size
    for _ in range(_MAX_TAGS_AT_END):
        file.seek(max(0, end - _ID3V1_BYTES))
        tail = file.read(_ID3V1_BYTES)
        foot = tail[-_APE_END_BYTES:]
        if len(tail) == _ID3V1_BYTES and tail.startswith(b"TAG"):
            end -= _ID3V1_BYTES
        elif foot.startswith(b"APETAGEX"):
            length, flags = int.from_bytes(foot[12:16], "little"), int.from_bytes(foot[20:24], "little")
            end = max(0, end - length - (_APE_END_BYTES if flags & _APE_HAS_HEADER else 0))
        else:
            break
    return end


def _behind_frames(file: BinaryIO, at: int, size: int, *, budget: Iterator[int]) -> int | None:
    """Return where a recording of another format begins in a stream of frames, but for those that tags hold."""
    found = _search(file, at, marks=_FOREIGN, tags=_TAGS, budget=budget)
    return found if found is not None and found < _without_tags(file, size) else None


def _behind_flac_metadata(file: BinaryIO, at: int) -> int:
    """Return where the sound of a FLAC begins. Its metadata may hold the header of the WAV that it was made of."""
    at += 4
    for _ in range(1 + 127):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4:
            break
        at += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:
            break
    return at


def _behind_ogg(file: BinaryIO, at: int, size: int, *, budget: Iterator[int]) -> int | None:
    """Return where a new chain begins: at a page that begins a stream, behind a page that does not.

    Format: RFC 3533. A page has a head of 27 bytes, a table of segment sizes, and the segments.
    """
    has_content = False
    while at + 27 <= size and next(budget, None) is not None:
        file.seek(at)
        head = file.read(27 + 255)
        if head[:4] != b"OggS":  # or damaged: libav finds the next page itself
            return _begin(file, at) if has_content else None
        begins = bool(head[5] & 2)
        if begins and has_content:
            return at
        has_content = has_content or not begins
        count = head[26]
        at += 27 + count + sum(head[27 : 27 + count])
    return None


def _behind_riff(file: BinaryIO, at: int, size: int, *, budget: Iterator[int]) -> int | None:
    """Return where another recording begins right behind the end that the header of a WAV, AVI or AIFF states.

    A recorder that lost power has counted no sound yet. What is at that end is then the first sample of this WAV.
    An AVI of more than 1 GB goes on in chunks of the kind AVIX (OpenDML AVI File Format Extensions 1.02).
    """
    while next(budget, None) is not None:
        file.seek(at)
        head = file.read(28)
        length = int.from_bytes(head[4:8], "big" if head[:4] == b"FORM" else "little")
        if head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64":  # EBU Tech 3306
            length = int.from_bytes(head[20:28], "little")
        elif length >= containers.MIN_UNKNOWN_WAV_SIZE:
            return None
        end = at + 8 + length + length % 2
        if length < 4 or end + 12 > size:
            return None
        file.seek(end)
        tail = file.read(12)
        if (tail[:4], tail[8:]) != (b"RIFF", b"AVIX"):
            return _begin(file, end) if _is_behind_sound(file, at, end) else None
        at = end
    return None


def _is_behind_sound(file: BinaryIO, at: int, end: int) -> bool:
    """Tell whether the end that the header of a WAV states is behind all sound that its data chunk states.

    True for an AVI or AIFF, and for a WAV without sound.
    """
    chunk = containers.wav_chunk(file, b"data", start=at)
    if chunk is None:
        return True
    begin, length = chunk[0] + 8, chunk[1]
    return end >= begin + length if length else end > begin


def _behind_mp4(file: BinaryIO, at: int, size: int, *, budget: Iterator[int]) -> int | None:
    """Return where an MP4 ends: at a box `ftyp` with a later index, or at bytes that are no box, behind its index."""
    start, has_index = at, False
    pending: int | None = None
    while at + 8 <= size and next(budget, None) is not None:
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if has_index and not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in kind):
            return _begin(file, at)
        if kind == b"ftyp" and at > start and has_index and pending is None:
            pending = at
        elif kind == b"moov":
            if pending is not None:
                return pending
            has_index = True
        if length < 8:
            return None
        at += length
    return None


def _behind_matroska(file: BinaryIO, at: int, *, budget: Iterator[int]) -> int | None:
    """Return where another recording begins behind a segment of Matroska or WebM.

    Browsers and streaming sites state no size of the segment. Its end is then where the next header is found. Format:
    RFC 8794 (EBML) and RFC 9559.
    """
    has_segment = False
    while next(budget, None) is not None:
        file.seek(at)
        head = file.read(12)
        if len(head) < 2:
            return None
        if has_segment and head.startswith(_EBML.content):
            return at
        if has_segment and head[0] not in _MATROSKA_HEADS:
            return _begin(file, at)
        id_bytes = 9 - head[0].bit_length()
        size_bytes = 9 - head[id_bytes].bit_length() if len(head) > id_bytes else 9
        if id_bytes > 4 or size_bytes > 8:
            return None
        length = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & (1 << 7 * size_bytes) - 1
        has_segment = has_segment or head.startswith(b"\x18\x53\x80\x67")
        if length == (1 << 7 * size_bytes) - 1:
            return _search(file, at + 1, marks=(_EBML,), budget=budget)
        at += id_bytes + size_bytes + length
    return None


def _behind_chunks(
    file: BinaryIO,
    start: int,
    size: int,
    *,
    mark: _Mark,
    skipped: int,
    length_of: Callable[[bytes], int | None],
    budget: Iterator[int],
) -> int | None:
    """Return where another recording begins behind the chunks of one whose format is made of them.

    mark: what it begins with. skipped: bytes before its first chunk. length_of: of the chunk that begins so; None if
    none of this format does, 0 or less if it states none, as in a live recording. Then only the same format is found.
    """
    at = start + skipped
    while at < size and next(budget, None) is not None:
        file.seek(at)
        head = file.read(_CHUNK_HEAD_BYTES)
        if at > start and mark.pattern.match(head):
            return at
        length = length_of(head)
        if length is None and at > start + skipped and (begin := _begin(file, at)) is not None:
            return begin
        if length is None or length <= 0 or at + length > size:
            return _search(file, at + 1, marks=(mark,), budget=budget)
        at += length
    return None


def _w64_bytes(head: bytes) -> int | None:
    if head[4:16] != _W64_NAME_END:
        return None
    length = int.from_bytes(head[16:24], "little")  # with the head, without what fills it up to a multiple of 8
    return (length + 7) // 8 * 8 if length >= 24 else 0


def _asf_bytes(head: bytes) -> int | None:
    if not head.startswith(_ASF_OBJECTS):
        return None
    length = int.from_bytes(head[16:24], "little")
    return length if length >= 24 else 0


def _caf_bytes(head: bytes) -> int | None:
    if not head.startswith(_CAF_CHUNKS):
        return None
    return 12 + int.from_bytes(head[4:12], "big", signed=True) if head[4:12] != b"\xff" * 8 else 0


def _flv_bytes(head: bytes) -> int | None:
    """Return the length of a tag and of the size behind it. The number of the stream is always 0."""
    if not head or head[0] not in _FLV_TAGS or head[8:11] != bytes(3):
        return None
    return 11 + int.from_bytes(head[1:4], "big") + 4


def _wavpack_bytes(head: bytes) -> int | None:
    return 8 + int.from_bytes(head[4:8], "little") if head.startswith(_WAVPACK.content) else None


# (what it begins with, bytes before the first chunk, the length of a chunk)
_CHUNKED: tuple[tuple[_Mark, int, Callable[[bytes], int | None]], ...] = (
    (_W64, 40, _w64_bytes),
    (_ASF, 0, _asf_bytes),
    (_CAF, 8, _caf_bytes),
    (_FLV, 13, _flv_bytes),
    (_WAVPACK, 0, _wavpack_bytes),
)


def _search(
    file: BinaryIO, at: int, *, marks: Sequence[_Mark], tags: Sequence[_Mark] = (), budget: Iterator[int]
) -> int | None:
    """Return the first place, from `at` on, at which one of the marks begins, in no tag. A look takes from the budget.

    tags: what the tags begin with that are jumped over.
    """
    buffer = b""
    while True:
        file.seek(at + len(buffer))
        new = file.read(SEARCHED_BYTES)
        buffer += new
        # What begins near the end of the buffer is looked at when more of it is there.
        end = max(0, len(buffer) - _MAX_MARK_BYTES) if new else len(buffer)
        jumps = _jumps(buffer, tags, end=end, budget=budget)
        found = [_first_outside(_places(buffer, mark, end=end, budget=budget), jumps) for mark in marks]
        if places := [one for one in found if one is not None]:
            return at + min(places)
        if not new:
            return None
        looked = max(end, jumps[-1][1] if jumps else 0)
        at, buffer = at + looked, buffer[looked:]


def _jumps(buffer: bytes, tags: Sequence[_Mark], *, end: int, budget: Iterator[int]) -> list[tuple[int, int]]:
    """Return (begin, end) of the tags that begin before `end`, sorted. The last may end behind the buffer."""
    found: list[tuple[int, int]] = []
    for place in heapq.merge(*(_places(buffer, tag, end=end, budget=budget) for tag in tags)):
        if not found or place >= found[-1][1]:
            found.append((place, place + _tag_bytes(buffer[place : place + _APE_END_BYTES])))
    return found


def _first_outside(places: Iterator[int], jumps: Sequence[tuple[int, int]]) -> int | None:
    """Return the first of the places that lies in none of the tags, None if all do."""
    for place in places:
        number = bisect_right(jumps, place, key=itemgetter(0))
        if not number or place >= jumps[number - 1][1]:
            return place
    return None


def _places(buffer: bytes, mark: _Mark, *, end: int, budget: Iterator[int]) -> Iterator[int]:
    """Yield the places before `end` at which the mark begins."""
    looked = 0
    while (found := buffer.find(mark.content, looked)) >= 0 and found < end + mark.before:
        if next(budget, None) is None:
            return
        place = found - mark.before
        if place >= 0 and mark.pattern.match(buffer, place):
            yield place
        looked = found + 1
