"""Files that were joined byte by byte are heard to the end, and headers that lie are mended."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest

from tests.fixtures import encoding
from tests.fixtures.encoding import tone
from tests.transcription.speech.listening import HOUR_MS, heard, loud_from_to
from transcription.speech import boundaries, hearing, parts, probing
from transcription.speech.samples import samples_to_ms


@pytest.mark.long
def test_chained_ogg_may_change_its_channels(tmp_path):
    mono = encoding.write(tmp_path / "1", tone(2, rate=48_000), container="ogg", codec="libopus", rate=48_000)
    stereo = tone(5, rate=48_000, channels=2)
    stereo = encoding.write(tmp_path / "2", stereo, container="ogg", codec="libopus", rate=48_000)
    vorbis = encoding.write(
        tmp_path / "3", tone(3, rate=44_100, channels=2), container="ogg", codec="vorbis", rate=44_100
    )
    path = encoding.joined(tmp_path / "chained.ogg", mono, stereo, vorbis, mono)
    samples, facts = heard(path)
    assert loud_from_to(samples) == pytest.approx((0, 12), abs=0.1)
    assert facts == []
    assert probing.probe(path, max_duration_ms=HOUR_MS).channels == 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("wav", "pcm_s16le"), ("ipod", "aac"), ("mp4", "aac"), ("mov", "pcm_s16le"), ("mp3", "libmp3lame"),
        ("adts", "aac"), ("flac", "flac"), ("matroska", "aac"), ("aiff", "pcm_s16be"), ("avi", "libmp3lame"),
        ("au", "pcm_s16be"), ("w64", "pcm_s16le"), ("w64", "adpcm_ms"), ("asf", "wmav2"), ("asf", "wmav1"),
        ("caf", "pcm_s16be"), ("caf", "alac"), ("flv", "aac"), ("flv", "libmp3lame"), ("wv", "wavpack"), ("tta", "tta"),
        ("nut", "pcm_s16le"), ("rm", "ac3"), ("voc", "pcm_s16le"), ("webm", "vorbis"),
    ],
)  # fmt: skip
def test_joined_files_are_heard_to_the_end(container, codec, tmp_path):
    channels = 2 if codec == "vorbis" else 1  # FFmpeg's encoder knows no other number
    made = [
        encoding.write(
            tmp_path / str(seconds), tone(seconds, rate=44_100, channels=channels), container=container, codec=codec,
            rate=44_100,
        )
        for seconds in (3, 2, 4)
    ]  # fmt: skip
    slack_ms = (
        150 if container == "asf" else 100
    )  # of each part, FFmpeg gives a frame of 46 ms more than it has packets
    samples, facts = heard(encoding.joined(tmp_path / "joined", *made), slack_ms=slack_ms)
    assert samples_to_ms(len(samples)) == pytest.approx(9_000, abs=300)
    assert loud_from_to(samples)[1] > 8.9
    assert facts == []


@pytest.mark.long
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("container", "one", "other"),
    [
        ("mp3", "libmp3lame 22050 1", "libmp3lame 44100 2"), ("flac", "flac 16000 1", "flac 44100 2"),
        ("ac3", "ac3 32000 1", "ac3 48000 2"), ("adts", "aac 44100 1", "aac 44100 2"),
        ("ogg", "flac 16000 1", "flac 44100 2"), ("ogg", "libopus 48000 1", "flac 44100 2"),
        ("ipod", "aac 22050 1", "alac 44100 2"), ("wav", "adpcm_ima_wav 22050 1", "libmp3lame 44100 2"),
        ("aiff", "pcm_s16be 16000 1", "pcm_mulaw 8000 2"), ("au", "pcm_mulaw 8000 1", "pcm_s16be 16000 2"),
        ("avi", "libmp3lame 44100 1", "pcm_s16le 16000 2"), ("mpegts", "aac 48000 1", "aac 44100 2"),
        ("matroska", "flac 44100 1", "aac 48000 2"), ("flv", "aac 44100 1", "libmp3lame 22050 2"),
        ("caf", "alac 44100 1", "pcm_s16be 16000 2"), ("wv", "wavpack 44100 1", "wavpack 16000 2"),
    ],
)  # fmt: skip
def test_joined_files_may_differ_in_everything_but_their_format(container, one, other, order, tmp_path):
    """Of two FLAC with different rates, or two AVI with different codecs, the first was heard; an AU became noise."""
    made = []
    for kind in (one, other):
        codec, rate, channels = kind.split()
        sound = tone(2, rate=int(rate), channels=int(channels))
        made.append(
            encoding.write(tmp_path / f"{codec} {rate}", sound, container=container, codec=codec, rate=int(rate))
        )
    samples, facts = heard(encoding.joined(tmp_path / "joined", *made[::order]))
    assert samples_to_ms(len(samples)) == pytest.approx(4_000, abs=200)
    assert loud_from_to(samples) == pytest.approx((0, 4), abs=0.15)
    per_twentieth = np.abs(samples[: len(samples) // 800 * 800].reshape(-1, 800)).max(axis=1)
    assert (per_twentieth > 0.2).mean() > 0.93
    assert facts == []


def test_large_avi_is_one_recording():
    """It goes on in RIFF chunks of the kind AVIX."""

    def chunk(kind: bytes) -> bytes:
        return b"RIFF" + (1_004).to_bytes(4, "little") + kind + bytes(1_000)

    avi = chunk(b"AVI ") + chunk(b"AVIX") * 2
    assert [part.size for part in parts.of(io.BytesIO(avi))] == [len(avi)]
    assert [part.size for part in parts.of(io.BytesIO(avi + avi))] == [len(avi)] * 2


def test_joined_telephone_recordings_are_heard_to_the_end(tmp_path):
    made = tone(3, rate=8_000)
    made = encoding.write(tmp_path / "1", made, container="amr", codec="libopencore_amrnb", rate=8_000)
    samples, _ = heard(encoding.joined(tmp_path / "joined", made, made, made))
    assert samples_to_ms(len(samples)) == pytest.approx(9_000, abs=100)


def test_parts_of_a_browser_that_state_no_size_are_heard_to_the_end(tmp_path):
    """MediaRecorder writes each of them without knowing how long it will be."""
    made = [
        encoding.write(
            tmp_path / str(seconds), tone(seconds, rate=48_000), container="webm", codec="libopus", rate=48_000,
            container_options={"live": "1"},
        )
        for seconds in (3, 2, 4)
    ]  # fmt: skip
    assert b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" in made[0].read_bytes()
    samples, _ = heard(encoding.joined(tmp_path / "joined", *made))
    assert loud_from_to(samples) == pytest.approx((0, 9), abs=0.1)


def test_w64s_that_are_joined_may_differ(tmp_path):
    one = encoding.write(tmp_path / "1", tone(3), container="w64", codec="pcm_s16le")
    other = tone(4, rate=44_100, channels=2)
    other = encoding.write(tmp_path / "2", other, container="w64", codec="pcm_f32le", rate=44_100)
    path = encoding.joined(tmp_path / "both", one, other, one)
    assert loud_from_to(heard(path)[0]) == pytest.approx((0, 10), abs=0.1)
    assert probing.probe(path, max_duration_ms=HOUR_MS).channels == 2


def test_channels_of_one_wavpack_are_no_parts(tmp_path):
    """Each pair of channels has blocks of its own, and all of them begin at the first sample."""
    path = encoding.write(tmp_path / "5.1.wv", tone(3, rate=48_000, channels=6), container="wv", codec="wavpack")
    blocks = path.read_bytes().split(b"wvpk")[1:]
    assert sum(block[12:16] == bytes(4) for block in blocks) > 1
    with path.open("rb") as file:
        assert len(parts.of(file)) == 1


@pytest.mark.parametrize("where", [0, 1, 30, 63, 64])
def test_mark_is_found_across_the_pieces_in_which_a_file_is_read(where, tmp_path):
    made = encoding.write(tmp_path / "1", tone(1), container="w64", codec="pcm_s16le").read_bytes()
    first = made + bytes(-(len(made) + where) % boundaries.SEARCHED_BYTES)
    bounds = [part.size for part in parts.of(io.BytesIO(first + made + made))]
    assert bounds == [len(first), len(made), len(made)]


@pytest.mark.parametrize("packets", [1, 2, 10])
def test_last_packet_of_an_apple_lossless_file_is_heard(packets, tmp_path):
    """libsndfile says of a full last packet that all of it is missing, and FFmpeg believes it."""
    path = encoding.write(
        tmp_path / "memo.caf", tone(packets * 0.512, rate=8_000), container="caf", codec="alac", rate=8_000
    )
    content = bytearray(path.read_bytes())
    missing_at = content.index(b"pakt") + 32
    assert content[missing_at : missing_at + 4] == bytes(4)
    content[missing_at : missing_at + 4] = (4096).to_bytes(4, "big")
    path.write_bytes(content)
    samples, facts = heard(path)
    assert len(samples) == packets * 4096 * 2  # at 8 kHz
    assert loud_from_to(samples)[1] == pytest.approx(packets * 4096 / 8_000, abs=0.01)
    assert facts == []


def test_joined_wavs_may_differ(tmp_path):
    one = encoding.wav(tmp_path / "1.wav", tone(3, channels=2))
    other = encoding.wav(tmp_path / "2.wav", tone(4, rate=44_100, channels=3), rate=44_100)
    path = encoding.joined(tmp_path / "both.wav", one, other, one)
    samples, _ = heard(path)
    assert samples_to_ms(len(samples)) == 10_000
    assert probing.probe(path, max_duration_ms=HOUR_MS).channels == 3


@pytest.mark.parametrize("order", [1, -1])
def test_aac_may_change_its_rate(order, tmp_path):
    made = [
        encoding.write(tmp_path / str(rate), tone(4, rate=rate), container="adts", codec="aac", rate=rate)
        for rate in (22_050, 44_100)
    ][::order]
    samples, _ = heard(encoding.joined(tmp_path / "both.aac", *made))
    assert samples_to_ms(len(samples)) == pytest.approx(8_000, abs=200)
    per_twentieth = np.abs(samples[: len(samples) // 800 * 800].reshape(-1, 800)).max(axis=1)
    assert (per_twentieth > 0.2).mean() > 0.97  # no silence between the packets


def test_sound_behind_a_size_that_is_too_small_is_heard(tmp_path):
    content = bytearray(encoding.wav(tmp_path / "whole.wav", tone(5)).read_bytes())
    content[40:44] = (32_000).to_bytes(4, "little")
    path = tmp_path / "small.wav"
    path.write_bytes(content)
    samples, facts = heard(path)
    assert samples_to_ms(len(samples)) == 5_000
    assert facts == [hearing.Fact("rest_of_wav")]


def test_tags_behind_the_sound_are_no_sound(tmp_path):
    content = encoding.wav(tmp_path / "whole.wav", tone(1)).read_bytes()
    path = tmp_path / "tagged.wav"
    path.write_bytes(content + b"id3 " + (10_000).to_bytes(4, "little") + bytes(range(250)) * 40)
    assert samples_to_ms(len(heard(path)[0])) == 1_000


def test_part_that_cannot_be_read_is_told(tmp_path):
    good = encoding.write(tmp_path / "1", tone(3), container="mp4", codec="aac").read_bytes()
    path = tmp_path / "joined.mp4"
    path.write_bytes(good + good[: int.from_bytes(good[:4])] + (8).to_bytes(4, "big") + b"moov")
    samples, facts = heard(path)
    assert samples_to_ms(len(samples)) == pytest.approx(3_000, abs=50)
    assert [fact.kind for fact in facts] == ["stopped"]


def test_last_of_joined_files_may_be_cut(tmp_path):
    """The probe must count what the decoder reads: else the job fails as longer than its file says."""
    content = encoding.wav(tmp_path / "1.wav", tone(20)).read_bytes()
    path = tmp_path / "joined.wav"
    path.write_bytes(content + content[: len(content) // 2])
    samples, facts = heard(path)
    assert samples_to_ms(len(samples)) == pytest.approx(30_000, abs=10)
    assert [fact.kind for fact in facts] == ["truncated"]


class Counted(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size=-1, /):
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize(
    "head",
    [
        b"\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01\x18\x53\x80\x67\xff",
        b"wvpk" + bytes(4) + b"\x10\4" + bytes(11) + b"\1\0\0\0\0\x08\0\0",
    ],
)
def test_many_marks_are_searched_in_bounded_time(head):
    """Attack: a file full of what another file could begin with."""
    began = time.process_time()
    assert len(parts.of(io.BytesIO(head + head[:4] * 5_000_000), max_scanned=1_000)) == 1
    # Without the bound 12 s: the search is in memory, so that no reads can be counted.
    assert time.process_time() - began < 5


@pytest.mark.parametrize("kind", ["ogg", "mp4"])
def test_many_tiny_pages_are_scanned_in_bounded_work(kind):
    """Attack: the search for joined files walks through pages of 28 bytes."""
    page = b"OggS\0\0" + bytes(20) + b"\1\0" if kind == "ogg" else (8).to_bytes(4, "big") + b"free"
    head = page if kind == "ogg" else (8).to_bytes(4, "big") + b"ftyp" + bytes(8)
    file = Counted(head + page * 1_000_000)
    assert len(parts.of(file, max_scanned=1_000)) == 1
    assert file.reads < 5_000


def test_many_boxes_around_edit_lists_are_scanned_in_bounded_work():
    """Attack: an MP4 of a million boxes of 8 bytes, and edit lists of a million pauses."""
    boxes = (8).to_bytes(4, "big") + b"free"
    table = b"elst" + bytes(8) + b"\xff" * 12_000_000
    edits = (len(table) + 4).to_bytes(4, "big") + table
    for name in (b"edts", b"trak", b"moov"):
        edits = (len(edits) + 8).to_bytes(4, "big") + name + edits
    for content in (boxes * 1_000_000, edits):
        file = Counted(boxes + content)
        assert len(parts.of(file)) == 1
        assert file.reads < 2 * parts.MAX_BOXES
