"""Containers: which may be opened, which recordings are joined in one file, and the length that headers state.

Imports neither PyAV nor numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from transcription.speech.errors import EmptyAudio, NotAudio

# libavformat's names of demuxers for files that carry sound. Deliberately absent: playlists and scripts, which open
# other files (hls, dash, concat, sdp, rtsp, avisynth), images, subtitles, raw video, headerless PCM, devices and
# trackers. libav refuses them (option format_whitelist) before any of their parsers runs.
DEMUXERS = (
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "asf_o", "au", "avi", "caf", "dsf", "dss", "dts",
    "eac3", "flac", "flv", "live_flv", "gsm", "loas", "matroska", "webm", "matroska,webm", "mov", "mp4", "m4a", "3gp",
    "3g2", "mj2", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "mxf", "nistsphere", "nut", "ogg",
    "qcp", "rm", "sox", "spx", "tak", "tta", "voc", "w64", "wav", "wsd", "wv", "xwma",
)  # fmt: skip

# These hold no time stamps and can express no pause: libav counts. In AVI it counts telephone codecs wrongly, so that 5
# seconds are stamped up to 83 minutes (findings/avi-telephone-times.sh), in the others a sample rate that changes.
WITHOUT_STAMPS = frozenset({"avi", "aac", "ac3", "eac3", "dts", "loas", "mp3"})
# The clock of these may restart in the middle, when recordings are joined or after a break of the transmission.
WITH_RESTARTING_CLOCKS = frozenset({"mpegts", "mpeg"})
# Demuxers of raw streams put bytes that are no frame into the packet beside them. No frame of these is so large (MPEG
# layer 3 at 320 kbit/s and 8 kHz: 2880; ADTS: a length of 13 bits; AC-3: 3840; E-AC-3: 11 bits of words).
MAX_FRAME_BYTES = {"mp3": 2_900, "aac": 8_200, "ac3": 3_900, "eac3": 4_100}
# Tags that lie between joined files (ID3, APE).
TAG_MARKS = (b"ID3\x02", b"ID3\x03", b"ID3\x04", b"TAG", b"APETAGEX")

# FFmpeg decodes no packet of a pause of these (findings/amr-dtx-pauses.sh).
CODECS_WITH_PAUSES = frozenset({"amrnb", "amrwb"})
# WAV format tags that FFmpeg takes for another codec or order of bits: tag -> name for the message
# (findings/wav-nms-adpcm-is-amr.sh, findings/wav-g721-nibble-order.sh).
WRONGLY_READ_WAV_TAGS = {0x38: "NMS ADPCM", 0x40: "G.721"}

# Containers whose header states the length of the complete file. For the others libav's "duration" is an estimate: from
# the bit rate (mp3, aac), from the last page in the file (ogg), or cut to the size of the file (wav). It says nothing
# about truncation. mp3 and wav have their own readers below.
HEADER_STATES_LENGTH = frozenset({"w64", "aiff", "caf", "flac", "au", "mov,mp4,m4a,3gp,3g2,mj2", "tta", "wv"})

# Except these, whose stated lengths are wrong by far (findings/header-lengths.sh): (format, codec).
WRONG_LENGTHS = frozenset({("aiff", "gsm"), ("w64", "adpcm_ms")})

# A program that streams a WAV does not know its size yet and writes a placeholder: 0, or a number near the largest
# signed or unsigned one (ffmpeg: 0xFFFFFFFF; sox: 0x7FFFFFFF minus the header; read in their sources).
MIN_UNKNOWN_WAV_SIZE = 0x7FFF0000

# A WAV with this tag states both how wide a sample lies in the file and how many of its upper bits are used. FFmpeg
# takes the second number for the first (findings/wav-24-in-32-bits-is-noise.sh).
WAVE_FORMAT_EXTENSIBLE = 0xFFFE

HEAD_BYTES = 4096
# A crafted file has millions of pages or boxes of a few bytes. 10 hours have about a million.
MAX_SCANNED = 4_000_000
# So many files joined in one are read; the rest of the file counts to the last.
MAX_PARTS = 1_000
# Less than this behind the sound of a WAV is a tag without a head, no sound.
MIN_HIDDEN_BYTES = 4096

# Files that are no recordings: (predicate on the first bytes, name for the error message).
_FOREIGN: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda head: head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"#EXTM3U"), "a playlist"),
    (lambda head: head.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith((b"[playlist]", b"ffconcat")), "a playlist"),
    (lambda head: head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf")), "an archive"),
    (lambda head: head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")) or head[257:262] == b"ustar", "an archive"),
    (lambda head: head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")), "an image"),
    (lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP", "an image"),
    (lambda head: head[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1"), "an image"),
    (lambda head: head.startswith(b"%PDF"), "a document"),
    # A browser's MediaRecorder and streaming sites write the header into the first piece only.
    (lambda head: head.startswith(b"\x1f\x43\xb6\x75"), "a later piece of a WebM recording. Join it to the first one"),
    (lambda head: head[4:8] in (b"styp", b"moof"), "a segment of an MP4. Join it to the one with the header"),
)  # fmt: skip


def refuse_foreign(file: BinaryIO) -> None:
    """Raise EmptyAudio for an empty file, and NotAudio if the first bytes show another kind of file.

    This is no security check (`DEMUXERS` is): it only gives a clearer error message. Leaves the file at its start.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise EmptyAudio
    for is_foreign, what in _FOREIGN:
        if is_foreign(head):
            raise NotAudio(f"The file is {what}." if "." in what else f"The file is {what}, not a recording.")
    if _is_text(head):
        raise NotAudio("The file is text, not a recording.")


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


def parts(file: BinaryIO) -> list[Part]:
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
    chunk = _wav_data(part)
    if chunk is None:
        return part
    _refuse_wrongly_read(part)
    at, size = chunk
    rest_at = at + 8 + size + size % 2
    if not 0 < size < MIN_UNKNOWN_WAV_SIZE or part.size - rest_at < MIN_HIDDEN_BYTES:
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
    head = part.read(HEAD_BYTES)
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
    head = part.read(HEAD_BYTES)
    part.seek(0)
    at = head.find(b"fmt ")
    tag = int.from_bytes(head[at + 8 : at + 10], "little") if at >= 0 else 0
    if tag in WRONGLY_READ_WAV_TAGS:
        raise NotAudio(
            f"The file is a WAV with the codec {WRONGLY_READ_WAV_TAGS[tag]}, which we cannot read. Convert it to plain "
            "PCM, for example with sox."
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
        if length < 4 or length >= MIN_UNKNOWN_WAV_SIZE:
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


def wav_data_bytes(file: BinaryIO | Part) -> tuple[int, int] | None:
    """Return (size that the data chunk of a RIFF file declares, size of the data in the file), in bytes.

    Returns None when the size is a placeholder (see MIN_UNKNOWN_WAV_SIZE), or the chunk is not near the start.
    """
    chunk = _wav_data(file)
    if chunk is None or chunk[1] == 0 or chunk[1] >= MIN_UNKNOWN_WAV_SIZE:
        return None
    file_bytes = file.seek(0, 2)
    file.seek(0)
    return chunk[1], file_bytes - chunk[0] - 8


def _wav_data(file: BinaryIO | Part) -> tuple[int, int] | None:
    """Return (place of the data chunk, its size as declared), None if it is not near the start of a RIFF file."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    at = 12
    while head[:4] == b"RIFF" and head[8:12] == b"WAVE" and at + 8 <= len(head):
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        if head[at : at + 4] == b"data":
            return at, size
        at += 8 + size + size % 2
    return None


def mp3_declared_samples(file: BinaryIO | Part) -> int | None:
    """Return the number of samples per channel in the Xing, Info or VBRI header of an MP3, None without such a header.

    Layout: "MP3 Audio Frame Header", Konrad Windszus, codeproject.com/articles/8295, read 2026-11-20.
    """
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(HEAD_BYTES)
    file.seek(0)
    sync = next((i for i in range(len(frame) - 4) if frame[i] == 0xFF and frame[i + 1] & 0xE6 == 0xE2), None)
    if sync is None:
        return None
    frame = frame[sync : sync + 200]
    samples_per_frame = 1152 if frame[1] & 0x18 == 0x18 else 576
    for tag in (b"Xing", b"Info"):
        at = frame.find(tag)
        if at >= 0 and len(frame) >= at + 12 and frame[at + 7] & 1:
            return int.from_bytes(frame[at + 8 : at + 12], "big") * samples_per_frame
    at = frame.find(b"VBRI")
    if at >= 0 and len(frame) >= at + 18:
        return int.from_bytes(frame[at + 14 : at + 18], "big") * samples_per_frame
    return None


def _is_text(head: bytes) -> bool:
    """Tell whether all bytes are printable UTF-8 or UTF-16, which the first bytes of a container never are."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and len(head) > 3 and 0 in head[2:4]:
        return True
    if any(byte < 9 or 13 < byte < 32 for byte in head):
        return False
    try:
        head[: len(head) - 3].decode()
    except UnicodeDecodeError:
        return False
    return True
