"""Containers: which may be opened, and the length that headers state.

Imports neither PyAV nor numpy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO, Literal, Protocol

from transcription.speech.errors import EmptyAudio, NotAudio

# libavformat's names of demuxers for files that carry sound. Deliberately absent: playlists and scripts, which open
# other files (hls, dash, concat, sdp, rtsp, avisynth), images, subtitles, raw video, headerless PCM, devices and
# trackers. libav refuses them (option format_whitelist) before any of their parsers runs.
DEMUXERS = (
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "asf_o", "au", "avi", "caf", "dhav", "dsf", "dss",
    "dts", "dv", "eac3", "flac", "flv", "live_flv", "gsm", "gxf", "iff", "ilbc", "ircam", "loas", "matroska", "webm",
    "matroska,webm", "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "mpc", "mpc8", "mpeg",
    "mpegts", "mxf", "nistsphere", "nut", "ogg", "qcp", "rm", "sox", "spx", "tak", "tta", "voc", "w64", "wav", "wsd",
    "wtv", "wv", "xwma",
)  # fmt: skip

# These hold no time stamps and can express no pause: libav counts. In AVI it counts telephone codecs wrongly, so that 5
# seconds are stamped up to 83 minutes (findings/avi-telephone-times.sh), in the others a sample rate that changes.
WITHOUT_STAMPS = frozenset({"avi", "aac", "ac3", "eac3", "dts", "loas", "mp3"})
# The clock of these may restart in the middle, when recordings are joined or after a break of the transmission.
WITH_RESTARTING_CLOCKS = frozenset({"mpegts", "mpeg"})
# Each frame of these states its sample rate and its channels.
SELF_DESCRIBING_CODECS = frozenset(
    {"aac", "aac_latm", "mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float", "ac3", "eac3"}
)
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

# Of these the length in bytes is believed (`stated_bytes`): their lengths in seconds are those of the pictures too.
HEADER_STATES_BYTES = frozenset({"matroska,webm", "avi", "asf"})
# Containers whose header states the length of the complete file. For the others libav's "duration" is an estimate: from
# the bit rate (mp3, aac), from the last page in the file (ogg), or cut to the size of the file (wav). It says nothing
# about truncation. mp3 and wav have their own readers below.
HEADER_STATES_LENGTH = frozenset({"w64", "aiff", "caf", "flac", "au", "mov,mp4,m4a,3gp,3g2,mj2", "tta", "wv"})

# Except these, whose stated lengths are wrong by far (findings/header-lengths.sh): (format, codec).
WRONG_LENGTHS = frozenset({("aiff", "gsm"), ("w64", "adpcm_ms")})

# A program that streams a WAV does not know its size yet and writes a placeholder: 0, or a number near the largest
# signed or unsigned one (ffmpeg: 0xFFFFFFFF; sox: 0x7FFFFFFF minus the header; read in their sources).
MIN_UNKNOWN_WAV_SIZE = 0x7FFF0000

# So many chunks of a WAV are looked at.
MAX_WAV_CHUNKS = 256

# An AVI of 1 TB has a thousand chunks of 1 GB.
MAX_AVI_CHUNKS = 1_000
# So many of the chunks in each of them are looked at: its packets are behind a few about the file.
MAX_AVI_LISTS = 32
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

HEAD_BYTES = 4096
_HTML_START = re.compile(rb"<(?:!doctype\s+html|html|head|body|script|meta|title)[\s>]")


class Readable(Protocol):
    """A file, or a part of one."""

    def read(self, count: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...


def is_web_page(head: bytes) -> bool:
    """Tell whether a file with these first bytes is HTML, as pages around a recording are. No recording begins so."""
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith((b"<?xml", b"<!--")):
        return b"<html" in text
    return _HTML_START.match(text) is not None


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
    # Formats of voices that no free decoder reads, and projects that only name recordings or hide them.
    (
        lambda head: head.startswith(b"\x03ds2"),
        "a DS2 dictation, which we cannot read. Save it as WAV or MP3 in the dictation program",
    ),
    (
        lambda head: head.startswith((b"#!SILK", b"\x02#!SILK")),
        "a voice message in SILK (WeChat, QQ), which we cannot read. Convert it to MP3",
    ),
    (
        lambda head: head.startswith(b"SQLite format 3\0"),
        "a database or an Audacity project. Export the project as WAV or MP3",
    ),
    (lambda head: head.startswith(b"MThd"), "a MIDI file"),
    (is_web_page, "a web page. Open it and download the recording itself"),
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


def wav_data_bytes(file: Readable) -> tuple[int, int] | None:
    """Return (size that the data chunk of a WAV declares, size of the data in the file), in bytes.

    Returns None when the size is unknown (see MIN_UNKNOWN_WAV_SIZE), or there is no data chunk.
    """
    chunk = wav_data(file)
    if chunk is None or chunk[1] == 0:
        return None
    file_bytes = file.seek(0, 2)
    file.seek(0)
    return chunk[1], file_bytes - chunk[0] - 8


def wav_data(file: Readable) -> tuple[int, int] | None:
    """Return (place of the data chunk, its size as declared or 0 if it is unknown), None if there is none."""
    return wav_chunk(file, b"data")


def wav_chunk(file: Readable, wanted: bytes, *, start: int = 0) -> tuple[int, int] | None:
    """Return (place, size) of the first chunk with this name of a RIFF, RIFX, RF64 or BW64 file, None without one.

    start: the place at which the WAV begins. Places count from the beginning of the file.
    Recorders write some kilobytes about a take before the sound. The size is 0 if it is a placeholder.
    Layout of RF64: EBU Tech 3306, read 2026-11-30.
    """
    file.seek(start)
    head = file.read(12)
    order: Literal["big", "little"] = "big" if head[:4] == b"RIFX" else "little"
    is_wav = head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE"
    at, data_bytes = start + 12, 0  # what a chunk ds64 states
    found: tuple[int, int] | None = None
    for _ in range(MAX_WAV_CHUNKS if is_wav else 0):
        file.seek(at)
        chunk = file.read(24)
        name, size = chunk[:4], int.from_bytes(chunk[4:8], order)
        if len(chunk) < 8:
            break
        if name == b"ds64":
            data_bytes = int.from_bytes(chunk[16:24], order)
        if name == wanted:
            if head[:4] in (b"RF64", b"BW64") and size == 0xFFFFFFFF:
                size = data_bytes
            elif size >= MIN_UNKNOWN_WAV_SIZE:
                size = 0
            found = at, size
            break
        at += 8 + size + size % 2
    file.seek(0)
    return found


def stated_bytes(file: Readable) -> int | None:
    """Return how long a Matroska, AVI or ASF file says that it is, in bytes, None if it does not say it.

    Of an AVI it is the length to the end of its packets. Programs write this number when they have finished a file.
    Layouts: RFC 9559; AVI as in `boundaries`; Advanced Systems Format Specification 01.20.06, 3.1 and 3.2, read
    2026-11-30.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        at = 0
        for _ in range(4):  # the header, perhaps some void, and the segment
            id_bytes = 9 - head[at].bit_length() if at < len(head) else 9
            size_bytes = 9 - head[at + id_bytes].bit_length() if at + id_bytes < len(head) else 9
            if id_bytes > 4 or size_bytes > 8:
                return None
            mask = (1 << 7 * size_bytes) - 1
            length = int.from_bytes(head[at + id_bytes : at + id_bytes + size_bytes], "big") & mask
            end = at + id_bytes + size_bytes + length
            if head[at : at + 4] == b"\x18\x53\x80\x67":
                return None if length == mask else end
            at = end
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _avi_bytes(file)
    at = head.find(_ASF_FILE_PROPERTIES)
    if head.startswith(_ASF_HEADER) and at > 0 and len(head) >= at + 92 and not head[at + 88] & 1:  # not a broadcast
        return int.from_bytes(head[at + 40 : at + 48], "little") or None
    return None


def _avi_bytes(file: Readable) -> int | None:
    """Return where the packets of an AVI end, by what its header states, None if it does not state it.

    The index behind them may be missing: no sound is lost with it.
    """
    at = 0
    stated: int | None = None
    for _ in range(MAX_AVI_CHUNKS):
        file.seek(at)
        head = file.read(12)
        if at and (head[:4] != b"RIFF" or head[8:] != b"AVIX"):
            break
        length = int.from_bytes(head[4:8], "little")
        if length < 4 or length >= MIN_UNKNOWN_WAV_SIZE:
            stated = None
            break
        begin, at = at, at + 8 + length + length % 2
        stated = _movi_end(file, begin + 12, at) or at
    file.seek(0)
    return stated


def _movi_end(file: Readable, at: int, end: int) -> int | None:
    """Return where the list of the packets ends, of the chunks from `at` to `end`, None if none of them is it."""
    for _ in range(MAX_AVI_LISTS):
        file.seek(at)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        if len(head) < 12 or at >= end:
            break
        at += 8 + length + length % 2
        if (head[:4], head[8:]) == (b"LIST", b"movi"):
            return at if 4 <= length < MIN_UNKNOWN_WAV_SIZE else None
    return None


def mp3_declared_samples(file: Readable) -> int | None:
    """Return the number of samples per channel in the Xing, Info or VBRI header of an MP3, None without such a header.

    Layout: "MP3 Audio Frame Header", Konrad Windszus, codeproject.com/articles/8295, read 2026-11-20.
    """
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + id3_bytes(head)
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


def id3_bytes(head: bytes) -> int:
    """Return the length of an ID3v2 tag behind its head of 10 bytes. Layout: id3.org, ID3 tag version 2.4.0, 3.1."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


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
