"""Recordings of different formats that were joined byte by byte are heard to the end."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tests.fixtures import encoding
from tests.fixtures.encoding import tone
from tests.transcription.speech.listening import heard, loud_from_to
from transcription.speech import boundaries
from transcription.speech.samples import samples_to_ms

KINDS = {
    "wav": ("pcm_s16le", 16_000),
    "mp3": ("libmp3lame", 44_100),
    "ipod": ("aac", 44_100),
    "adts": ("aac", 44_100),
    "ogg": ("libopus", 48_000),
    "webm": ("libopus", 48_000),
    "flac": ("flac", 44_100),
    "aiff": ("pcm_s16be", 16_000),
    "amr": ("libopencore_amrnb", 8_000),
    "ac3": ("ac3", 48_000),
    "avi": ("libmp3lame", 44_100),
    "w64": ("pcm_s16le", 16_000),
    "asf": ("wmav2", 44_100),
    "caf": ("pcm_s16be", 16_000),
    "flv": ("libmp3lame", 44_100),
    "wv": ("wavpack", 16_000),
}


def made(folder, kind, seconds=2.0):
    codec, rate = KINDS[kind]
    path = folder / f"{kind} {seconds}"
    return encoding.write(path, tone(seconds, rate=rate), container=kind, codec=codec, rate=rate)


def share_of_sound(samples):
    per_twentieth = np.abs(samples[: len(samples) // 800 * 800].reshape(-1, 800)).max(axis=1)
    return (per_twentieth > 0.2).mean()


@pytest.mark.long
@pytest.mark.parametrize(
    "kinds",
    [
        # A format that states its length, and another one behind its end.
        "wav mp3", "wav ipod", "wav flac", "ipod mp3", "ipod wav", "ogg mp3", "ogg ipod", "webm wav", "aiff amr",
        "avi ogg", "w64 mp3", "w64 ogg", "asf wav", "asf mp3", "caf ipod", "caf wav", "flv wav", "flv mp3", "wv mp3",
        "wv wav", "w64 caf wv", "flv asf w64",
        # A stream of frames, in which the next file is searched for.
        "mp3 wav", "mp3 ipod", "mp3 ogg", "mp3 flac", "adts webm", "flac wav", "amr ipod", "ac3 aiff",
        "mp3 wav ipod ogg flac amr",
    ],
)  # fmt: skip
def test_joined_files_may_be_of_different_formats(kinds, tmp_path):
    """Of a WAV and an MP3 the MP3 was heard as noise; what stood behind an MP4 was not heard, and nothing said so."""
    kinds = kinds.split()
    path = encoding.joined(tmp_path / "joined", *(made(tmp_path, kind) for kind in kinds))
    samples, facts = heard(path, slack_ms=150)
    seconds = 2 * len(kinds)
    assert samples_to_ms(len(samples)) == pytest.approx(seconds * 1000, abs=120 * len(kinds))
    assert loud_from_to(samples) == pytest.approx((0, seconds), abs=0.1 * len(kinds))
    assert share_of_sound(samples) > 0.93
    assert facts == []


def test_mp3_with_a_tag_behind_a_wav_is_heard(tmp_path):
    tag = b"ID3\x04\x00\x00\x00\x00\x10\x00" + b"TXXX" + bytes(2_044)
    mp3 = made(tmp_path, "mp3").read_bytes()
    path = tmp_path / "joined"
    path.write_bytes(made(tmp_path, "wav").read_bytes() + tag + mp3[mp3.index(b"\xff\xfb") :])
    samples, facts = heard(path)
    assert loud_from_to(samples) == pytest.approx((0, 4), abs=0.15)
    assert facts == []


def test_apev2_tag_belongs_to_the_file_before(tmp_path):
    """FFmpeg hears nothing in a WAV that begins with one."""
    wav = made(tmp_path, "wav").read_bytes()
    item = b"\x03\x00\x00\x00\x00\x00\x00\x00Artist\x00Bob"
    size, count, rest = (len(item) + 32).to_bytes(4, "little"), (1).to_bytes(4, "little"), bytes(8)
    head, foot = (
        b"APETAGEX\xd0\x07\x00\x00" + size + count + flags.to_bytes(4, "little") + rest
        for flags in (0xA << 28, 1 << 31)
    )
    tag = head + item + foot
    content = wav + tag + wav + tag
    assert list(boundaries.starts(io.BytesIO(content), len(content))) == [len(wav) + len(tag)]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["wav", "ipod", "ogg", "w64", "asf", "caf", "flv", "wv"])
@pytest.mark.parametrize(
    "rest",
    [b"TAG" + bytes(125), b"ID3\x04\x00\x00\x00\x00\x10\x00" + bytes(2_048), bytes(3_000), b"by a recorder\n" * 99],
    ids=["id3v1", "id3v2", "zeros", "text"],
)  # fmt: skip
def test_what_is_no_recording_behind_the_end_is_none(kind, rest, tmp_path):
    content = made(tmp_path, kind).read_bytes() + rest
    assert list(boundaries.starts(io.BytesIO(content), len(content))) == []


def test_header_of_a_wav_inside_the_metadata_of_a_flac_is_no_recording(tmp_path):
    """`flac --keep-foreign-metadata` keeps the header of the WAV in a block of the application "riff"."""
    content = made(tmp_path, "flac").read_bytes()
    riff = b"riffRIFF" + (100_000).to_bytes(4, "little") + b"WAVEfmt " + bytes(16)
    block = b"\x02" + len(riff).to_bytes(3, "big") + riff
    content = content[: 4 + 38] + block + content[4 + 38 :]
    assert list(boundaries.starts(io.BytesIO(content), len(content))) == []


def test_rf64s_that_are_joined_are_told_apart(tmp_path):
    """EBU Tech 3306: the sizes of the field recorders' long WAVs are in a chunk ds64."""
    plain = made(tmp_path, "wav").read_bytes()
    data_at = plain.index(b"data")
    data = plain[data_at + 8 :]
    body = b"WAVE" + b"ds64" + (28).to_bytes(4, "little")
    body += (len(plain) + 28).to_bytes(8, "little") + len(data).to_bytes(8, "little") + bytes(12)
    rf64 = b"RF64" + b"\xff" * 4 + body + plain[12:data_at] + b"data" + b"\xff" * 4 + data
    assert list(boundaries.starts(io.BytesIO(rf64 * 3), 3 * len(rf64))) == [len(rf64), 2 * len(rf64)]


@pytest.mark.long
@pytest.mark.parametrize("codec", ["libmp3lame", "mp2", "ac3", "pcm_s16le"])
@pytest.mark.parametrize("counted", ["nothing", "data"])
def test_wav_of_a_recorder_that_lost_power_is_one_recording(codec, counted, tmp_path):
    """Its size counts the header. The first frame behind it was taken for another recording, the WAV for empty."""
    whole = encoding.write(tmp_path / "whole", tone(20, rate=48_000), container="wav", codec=codec, rate=48_000)
    content = bytearray(whole.read_bytes())
    data_at = content.index(b"data")
    content[4:8] = data_at.to_bytes(4, "little")
    if counted == "nothing":
        content[data_at + 4 : data_at + 8] = bytes(4)
    path = tmp_path / "lost power"
    path.write_bytes(content)
    assert list(boundaries.starts(io.BytesIO(content), len(content))) == []
    samples, facts = heard(path)
    assert loud_from_to(samples) == pytest.approx((0, 20), abs=0.15)
    assert facts == []


def test_wav_whose_size_ends_inside_its_sound_is_one_recording(tmp_path):
    """At the end of what was counted last begins a frame."""
    whole = encoding.write(tmp_path / "whole", tone(5, rate=48_000), container="wav", codec="mp2", rate=48_000)
    content = bytearray(whole.read_bytes())
    begin = content.index(b"data") + 8
    second = content.index(content[begin : begin + 3], begin + 100)
    content[4:8] = (second - 8).to_bytes(4, "little")
    assert list(boundaries.starts(io.BytesIO(content), len(content))) == []


def id3v2(kind, body):
    """Return an ID3v2.4 tag with one frame."""

    def sizes(number):
        return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))

    frame = kind + sizes(len(body)) + bytes(2) + body
    return b"ID3\x04\x00\x00" + sizes(len(frame)) + frame


def apev2(key, body, *, has_header=True):
    item = len(body).to_bytes(4, "little") + (2).to_bytes(4, "little") + key + b"\0" + body
    length, has = (len(item) + 32).to_bytes(4, "little"), has_header << 31

    def mark(flags):
        return (
            b"APETAGEX"
            + (2_000).to_bytes(4, "little")
            + length
            + b"\x01\0\0\0"
            + flags.to_bytes(4, "little")
            + bytes(8)
        )

    return (mark(has | 1 << 29) if has_header else b"") + item + mark(has)


HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(range(256)) * 40
COVER = b"Cover Art (Front)", b"cover.heic\0" + HEIC
TAGS = {
    "a cover of an APEv2 tag": lambda wav: apev2(*COVER),
    "a cover of an APEv2 tag without a header": lambda wav: apev2(*COVER, has_header=False),
    "a cover before an ID3v1 tag": lambda wav: apev2(*COVER, has_header=False) + b"TAG" + bytes(125),
    "a file of an ID3v2 tag": lambda wav: id3v2(b"GEOB", b"\0audio/wav\0hook.wav\0\0" + wav),
    "both": lambda wav: apev2(*COVER) + id3v2(b"GEOB", b"\0audio/wav\0hook.wav\0\0" + wav) + b"TAG" + bytes(125),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mp3", "adts", "flac"])
@pytest.mark.parametrize("tag", TAGS)
def test_files_that_tags_of_a_stream_hold_are_no_recordings(kind, tag, tmp_path):
    """They gave a second recording, and a note that it cannot be read."""
    tag = TAGS[tag](made(tmp_path, "wav", 0.5).read_bytes())
    path = tmp_path / "tagged"
    path.write_bytes(made(tmp_path, kind).read_bytes() + tag)
    content = path.read_bytes()
    assert list(boundaries.starts(io.BytesIO(content), len(content))) == []
    samples, facts = heard(path, slack_ms=150)
    assert samples_to_ms(len(samples)) == pytest.approx(2_000, abs=120)
    assert facts == []


@pytest.mark.long
@pytest.mark.parametrize("where", [0, 5, 63, 64, 65, -20])
@pytest.mark.parametrize("size", [10_000, 3 << 20])
def test_recording_behind_the_tags_of_a_stream_is_found(where, size, tmp_path):
    """Also where a tag lies across the pieces in which a file is read, or is longer than one."""
    frames = made(tmp_path, "mp3").read_bytes()
    frames = frames[frames.index(b"\xff\xfb") :]
    frames = (frames * (boundaries.SEARCHED_BYTES // len(frames) + 1))[: boundaries.SEARCHED_BYTES - where]
    wav = made(tmp_path, "wav").read_bytes()
    tags = id3v2(b"GEOB", wav + bytes(size)) + apev2(COVER[0], HEIC + bytes(size))
    content = frames + tags + frames[:5_000] + wav + tags
    assert list(boundaries.starts(io.BytesIO(content), len(content))) == [len(frames) + len(tags) + 5_000]


class Counted(io.BytesIO):
    """A file that counts how often, and how much, it is read."""

    reads = bytes_read = 0

    def read(self, size=-1, /):
        content = super().read(size)
        self.reads, self.bytes_read = self.reads + 1, self.bytes_read + len(content)
        return content


@pytest.mark.parametrize(
    "crafted",
    [
        # segments of Matroska without content, each followed by void
        b"\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01\x18\x53\x80\x67\x80" + b"\xec\x80" * 1_000_000,
        # AVI chunks without content
        b"RIFF\x04\x00\x00\x00AVI " + b"RIFF\x04\x00\x00\x00AVIX" * 500_000,
        # tables of a transport stream inside its packets
        (b"G" + bytes(187)) * 8 + b"\x47\x40\x00" * 700_000,
        # what a WAV begins with, in an MP3
        b"\xff\xfb\x90\x00" + bytes(413) + (b"\xff\xfb\x90\x00" + b"RIFF0000WAVE" * 34 + bytes(5)) * 5_000,
        # tags without content, in an MP3
        (b"\xff\xfb\x90\x00" + bytes(413)) * 3 + b"ID3\x04\x00\x00\x00\x00\x00\x00" * 200_000,
        # files inside of tags, in an MP3
        (b"\xff\xfb\x90\x00" + bytes(413)) * 3 + b"ID3\x04\x00\x00\x00\x00\x00\x1eRIFF0000WAVEfmt " * 100_000,
        # chunks without content, and one of less than none, in a CAF
        b"caff\x00\x01\x00\x00desc" + bytes(8) + (b"free" + bytes(8)) * 100_000,
        b"caff\x00\x01\x00\x00desc" + bytes(8) + b"free" + b"\xff" * 7 + b"\x00" + bytes(1_000),
        # tags without content, in an FLV
        b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00" + (b"\x08" + bytes(14)) * 100_000,
    ],
    ids=["matroska", "avi", "mpegts", "mp3", "tags", "files in tags", "caf", "caf of less", "flv"],
)
def test_crafted_files_are_searched_in_bounded_work(crafted):
    file = Counted(crafted)
    assert len(list(boundaries.starts(file, len(crafted), max_scanned=1_000))) <= 1
    assert file.reads < 2_000 + len(crafted) // 10_000
    assert file.bytes_read < 100_000_000
