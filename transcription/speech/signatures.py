"""Tells headerless PCM from a recording with a container, by the first bytes. Imports neither PyAV nor numpy.

Some APIs take both in one place. PCM can begin with any bytes, and has almost no chance to begin with one of these
signatures: the ones of less than four bytes must come again where the next frame begins.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from transcription.speech import containers, transport_streams
from transcription.speech.errors import AudioError

# A caller reads so much before it asks. Three frames of any format are shorter.
HEAD_BYTES = 64 * 1024
MIN_FRAMES = 3

_AT_START = (
    b"RIFX", b"RF64", b"BW64", b"riff\x2e\x91\xcf\x11", b".snd", b"caff", b"fLaC", b"OggS", b"\x1a\x45\xdf\xa3",
    b"#!AMR", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"MAC ", b"DSD ", b"FRM8", b"FLV\x01", b"MPCK", b"MP+", b"NIST_1A",
    b"SoX.", b".SoX", b"XoS.", b"tBaK", b"TTA1", b"Creative Voice File", b"1bit", b"wvpk", b".RMF", b".ra\xfd",
    b"ID3\x02", b"ID3\x03", b"ID3\x04", b"\x02dss", b"\x03ds2", b"nut/multimedia", b"\x06\x0e\x2b\x34\x02\x05\x01\x01",
    b"DHAV", b"DAHUA", b"#!iLBC", b"\x1f\x07\x00\xbf", b"\x1f\x07\x00\x3f", b"\x00\x00\x00\x00\x01\xbc",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11", b"\x64\xa3\x01\x00", b"\x64\xa3\x02\x00", b"\x00\x01\xa3\x64",
    b"\x00\x02\xa3\x64",
    b"\x00\x00\x01\xba", b"\x7f\xfe\x80\x01", b"\xfe\x7f\x01\x80", b"\x1f\xff\xe8\x00", b"\xff\x1f\x00\xe8",
)  # fmt: skip
# The first box of an MP4 or QuickTime file, by its name at byte 4.
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")

# kbit/s by [is MPEG-1][layer], and Hz by version bits. ISO 11172-3 and 13818-3, as in FFmpeg's mpegaudiotabs.h.
_BITRATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def is_headerless(head: bytes) -> bool:
    """Tell whether a recording that begins so is bare PCM.

    head: its first HEAD_BYTES bytes, or all if it has fewer. False for an empty one, and for text, pictures and other
    files that are no recording: whoever opens those gives the clearer error.
    """
    return not _is_foreign(head) and not has_container(head)


def _is_foreign(head: bytes) -> bool:
    """Tell whether the bytes are of a file that is no recording, or of none.

    The samples -2 and -257 are the marks of UTF-16, and 19778 is that of a BMP: behind these more must fit.
    """
    if head.startswith((b"\xfe\xff", b"\xff\xfe")):
        try:
            text = head[: len(head) // 2 * 2].decode("utf-16")
        except UnicodeDecodeError:
            return False
        return "".join(text.split()).isprintable()
    if head.startswith(b"BM") and head[6:10] != b"\0" * 4:
        return False
    try:
        containers.refuse_foreign(io.BytesIO(head))
    except AudioError:
        return True
    return False


def has_container(head: bytes) -> bool:
    """Tell whether a recording that begins so has a container, or frames that say where the next one begins."""
    if head.startswith(_AT_START) or head[4:8] in _BOXES:
        return True
    if head[:4] == b"RIFF" or head[:4] == b"FORM":
        return head[8:12] in (b"WAVE", b"AVI ", b"AIFF", b"AIFC", b"QLCM", b"XWMA", b"8SVX", b"16SV", b"MAUD")
    return transport_streams.layout_of(head) is not None or is_stream(head)


def is_stream(head: bytes) -> bool:
    """Tell whether the bytes are frames of MPEG audio, AAC or AC-3, without a container."""
    if head[:2] == b"\x0b\x77" and len(head) > 5:
        return head[4] >> 6 != 3 and 6 <= head[5] >> 3 <= 16  # AC-3: a sample rate, and a version
    return any(_frames_follow(head, length_of) for length_of in (_mpeg_bytes, _adts_bytes, _loas_bytes))


def _frames_follow(head: bytes, length_of: Callable[[bytes], int | None]) -> bool:
    """Tell whether the bytes are frames, one behind the other: at least three, or all that the file has."""
    at = count = 0
    while at < len(head) and count < MIN_FRAMES:
        length = length_of(head[at : at + 8])
        if length is None:
            return False
        at, count = at + length, count + 1
    return count == MIN_FRAMES or at == len(head)


def _mpeg_bytes(header: bytes) -> int | None:
    """Return the length of the MPEG audio frame (layers 1 to 3) that begins so, None if none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, sampling, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or sampling == 3 or not 1 <= rate <= 14:
        return None
    is_first = version == 3
    bits = 1000 * _BITRATES[is_first, layer][rate - 1]
    hertz = _SAMPLE_RATES[version][sampling]
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (144 if is_first or layer == 2 else 72) * bits // hertz + padding


def _adts_bytes(header: bytes) -> int | None:
    """Return the length of the AAC frame with an ADTS header that begins so, None if none does."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return None
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 else None


def _loas_bytes(header: bytes) -> int | None:
    """Return the length of the AAC frame with a LOAS header that begins so, None if none does."""
    if len(header) < 3 or header[0] != 0x56 or header[1] & 0xE0 != 0xE0:
        return None
    return ((header[1] & 0x1F) << 8 | header[2]) + 3
