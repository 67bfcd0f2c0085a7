"""Files that were joined byte by byte are heard to the end, and headers that lie are mended."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest

from tests.fixtures import encoding
from tests.fixtures.encoding import tone
from tests.transcription.speech.listening import HOUR_MS, heard, loud_from_to
from transcription.speech import hearing, parts, probing
from transcription.speech.samples import samples_to_ms


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


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("wav", "pcm_s16le"), ("ipod", "aac"), ("mp4", "aac"), ("mov", "pcm_s16le"), ("mp3", "libmp3lame"),
        ("adts", "aac"), ("flac", "flac"), ("matroska", "aac"), ("aiff", "pcm_s16be"), ("avi", "libmp3lame"),
        ("au", "pcm_s16be"),
    ],
)  # fmt: skip
def test_joined_files_are_heard_to_the_end(container, codec, tmp_path):
    made = [
        encoding.write(
            tmp_path / str(seconds), tone(seconds, rate=44_100), container=container, codec=codec, rate=44_100
        )
        for seconds in (3, 4)
    ]
    samples, _ = heard(encoding.joined(tmp_path / "joined", *made))
    assert samples_to_ms(len(samples)) == pytest.approx(7_000, abs=200)
    assert loud_from_to(samples)[1] > 6.9


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


@pytest.mark.parametrize("kind", ["ogg", "mp4"])
def test_many_tiny_pages_are_scanned_in_bounded_time(kind, tmp_path, monkeypatch):
    """Attack: the search for joined files walks through pages of 28 bytes."""
    page = b"OggS\0\0" + bytes(20) + b"\1\0" if kind == "ogg" else (8).to_bytes(4, "big") + b"free"
    head = page if kind == "ogg" else (8).to_bytes(4, "big") + b"ftyp" + bytes(8)
    monkeypatch.setattr(parts, "MAX_SCANNED", 1_000)
    began = time.process_time()
    assert len(parts.of(io.BytesIO(head + page * 1_000_000))) == 1
    assert time.process_time() - began < 0.5
