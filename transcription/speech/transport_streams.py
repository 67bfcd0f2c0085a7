"""Finds where a track of an MPEG transport stream changes its codec. Imports neither PyAV nor numpy.

A station may go on in another codec on the same PID, and so do recordings that were joined with programs that number
their tracks alike. libav notices, but PyAV keeps the decoder with which the file was opened. So the file is opened
again where the table of tracks changes. Format: ISO/IEC 13818-1, 2.4.3 (packets) and 2.4.4 (PAT, PMT); descriptors of
codecs: ETSI EN 300 468, 6.1; stream types of AC-3: ATSC A/53-3, as in FFmpeg's mpegts.c. Read 2026-11-30.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

SYNC = 0x47
PACKET_BYTES = 188
# (bytes from one packet to the next, bytes before the sync byte of the first): plain, M2TS, and with error correction.
LAYOUTS = ((188, 0), (192, 4), (204, 0))
# The sync byte is always the same. Chance makes three of them, but not eight.
MIN_PACKETS, MAX_PACKETS = 3, 8
# A multiplex of a satellite has some ten programs.
MAX_PROGRAMS = 64
READ_BYTES = 1 << 20
_PAT, _PMT = 0x00, 0x02
# Stream type -> what decodes it. The second line is of Blu-ray and AVCHD cameras.
_AUDIO_TYPES = {
    0x03: "mpeg", 0x04: "mpeg", 0x0F: "adts", 0x11: "latm", 0x81: "ac3", 0x87: "eac3",
    0x80: "pcm", 0x82: "dts", 0x83: "truehd", 0x84: "eac3", 0x85: "dts", 0x86: "dts",
}  # fmt: skip
# Of private data, descriptors tell the codec: a registration, or DVB's of AC-3, E-AC-3, DTS and AAC.
_PRIVATE = 0x06
_REGISTRATION = 0x05
_CODEC_DESCRIPTORS = {0x6A: "ac3", 0x7A: "eac3", 0x7B: "dts", 0x7C: "aac"}


def layout_of(head: bytes) -> tuple[int, int] | None:
    """Return the entry of LAYOUTS that fits the first bytes of a file, None if it is no transport stream."""
    for step, before in LAYOUTS:
        marks = head[before::step][:MAX_PACKETS]
        if len(marks) >= MIN_PACKETS and set(marks) == {SYNC}:
            return step, before
    return None


@dataclass(slots=True)
class _Tables:
    """What the tables said so far. Places: of the packets in the file."""

    programs: set[int] = field(default_factory=set)  # the PIDs of their tables
    codecs: dict[int, str] = field(default_factory=dict)  # PID of a track -> what decodes it
    pat_at: int = -1
    pmt_at: int = -1

    def read(self, packet: bytes, at: int) -> int | None:
        """Take one packet of a table into account. Returns where the part with other codecs begins, if it does so."""
        pid = int.from_bytes(packet[1:3], "big") & 0x1FFF
        section = _section(packet)
        if len(section) < 8 or not section[5] & 1:  # a table that is announced only
            return None
        if pid == 0 and section[0] == _PAT:
            self.pat_at = at
            self.programs.update(pid for number, pid in _programs(section) if number)
            return None
        if pid not in self.programs or section[0] != _PMT:
            return None
        found = dict(_codecs(section))
        is_changed = any(self.codecs.get(pid, codec) != codec for pid, codec in found.items())
        self.codecs.update(found)
        # Without the PAT before its table a reader would wait for the next one. One before the earlier table would give
        # the earlier codecs again.
        begin = self.pat_at if self.pat_at > self.pmt_at else at
        self.pmt_at = at
        return begin if is_changed else None


def next_change(
    file: BinaryIO, at: int, *, layout: tuple[int, int], budget: Iterator[int], read_bytes: int = READ_BYTES
) -> int | None:
    """Return where the file is to be opened again, None if all tracks keep their codecs.

    at: where the stream begins. budget: so many looks are taken at what may be a table. The place is that of a packet,
    in M2TS of the four bytes before it. read_bytes: the file is read in such pieces.
    """
    step, before = layout
    tables = _Tables()
    packets = _table_packets(file, at + before, step=step, tables=tables, budget=budget, read_bytes=read_bytes)
    for place, packet in packets:
        begin = tables.read(packet, place)
        if begin is not None and begin - before > at:
            return begin - before
    return None


def _table_packets(
    file: BinaryIO, at: int, *, step: int, tables: _Tables, budget: Iterator[int], read_bytes: int
) -> Iterator[tuple[int, bytes]]:
    """Yield (place, packet) of the packets that begin a table, as far as `tables` knows where tables are."""
    known: set[int] = set()
    pattern = _begin_of({0})
    rest = b""
    while True:
        file.seek(at + len(rest))
        new = file.read(read_bytes)
        buffer = rest + new
        searched = 0
        while (match := pattern.search(buffer, searched)) is not None and match.start() + PACKET_BYTES <= len(buffer):
            searched = match.start() + 1
            if next(budget, None) is None:
                return
            if match.start() % step:
                continue  # inside a packet
            searched = match.start() + PACKET_BYTES
            yield at + match.start(), buffer[match.start() : match.start() + PACKET_BYTES]
            if tables.programs != known and len(tables.programs) <= MAX_PROGRAMS:
                known = set(tables.programs)
                pattern = _begin_of({0, *known})
        if not new:
            return
        done = max(0, len(buffer) - PACKET_BYTES) // step * step
        at, rest = at + done, buffer[done:]


def _begin_of(pids: set[int]) -> re.Pattern[bytes]:
    """Return what the packets of these PIDs begin with where a table begins: without a transport error."""
    heads = b"|".join(
        b"[" + re.escape(bytes([0x40 | pid >> 8])) + re.escape(bytes([0x60 | pid >> 8])) + b"]"
        + re.escape(bytes([pid & 0xFF]))
        for pid in sorted(pids)
    )  # fmt: skip
    return re.compile(bytes([SYNC]) + b"(?:" + heads + b")", re.DOTALL)


def _section(packet: bytes) -> bytes:
    """Return what a packet holds of the table that begins in it, without its checksum."""
    control = packet[3] >> 4 & 3
    if not control & 1:
        return b""
    at = 4 + (1 + packet[4] if control & 2 else 0)
    if at >= len(packet):
        return b""
    at += 1 + packet[at]
    length = int.from_bytes(packet[at + 1 : at + 3], "big") & 0xFFF
    return packet[at : at + 3 + length - 4] if length >= 9 else b""


def _programs(section: bytes) -> Iterator[tuple[int, int]]:
    """Yield (number, PID of its table) of each program in a PAT."""
    for at in range(8, len(section) - 3, 4):
        number, pid = section[at : at + 2], section[at + 2 : at + 4]
        yield int.from_bytes(number, "big"), int.from_bytes(pid, "big") & 0x1FFF


def _codecs(section: bytes) -> Iterator[tuple[int, str]]:
    """Yield (PID, what decodes it) of each track of sound in a PMT, as far as the first packet holds it."""
    at = 12 + (int.from_bytes(section[10:12], "big") & 0xFFF)
    while at + 5 <= len(section):
        kind, pid = section[at], int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF
        length = int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF
        descriptors = section[at + 5 : at + 5 + length]
        if len(descriptors) < length:
            return
        codec = _AUDIO_TYPES.get(kind) or (_private_codec(descriptors) if kind == _PRIVATE else None)
        if codec is not None:
            yield pid, codec
        at += 5 + length


def _private_codec(descriptors: bytes) -> str | None:
    at, registration = 0, None
    while at + 2 <= len(descriptors):
        tag, length = descriptors[at], descriptors[at + 1]
        if tag in _CODEC_DESCRIPTORS:
            return _CODEC_DESCRIPTORS[tag]
        if tag == _REGISTRATION:
            registration = descriptors[at + 2 : at + 6].decode("latin-1")
        at += 2 + length
    return registration
