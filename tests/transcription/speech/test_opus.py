from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fixtures import encoding, many_packets
from tests.fixtures.encoding import tone
from transcription.speech import audio, opus, probing
from transcription.speech.parts import Part
from transcription.speech.samples import samples_to_ms

HOUR_MS = 3_600_000


def counted_ms(path: Path) -> int | None:
    """Return the length by pages."""
    with path.open("rb") as file:
        samples = opus.length_of_ogg(Part(file, 0, path.stat().st_size))
    return None if samples is None else round(samples / 48)


def decoded_ms(path: Path) -> int:
    return samples_to_ms(sum(len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS)))


def probed_ms(path: Path) -> int:
    return probing.probe(path, max_duration_ms=HOUR_MS).duration_ms


@pytest.mark.parametrize(
    ("head", "samples"),
    [
        (b"\x00", 480),  # SILK, 10 ms
        (b"\x18", 2_880),  # SILK, 60 ms
        (b"\x68", 960),  # hybrid, 20 ms
        (b"\xe0", 120),  # CELT, 2.5 ms
        (b"\xf8", 960),  # CELT, 20 ms
        (b"\xf9", 1_920),  # two frames
        (b"\xfa", 1_920),  # two frames of different sizes
        (b"\xe3\x30", 5_760),  # 48 frames of 2.5 ms
        (b"\xe3\xf1", 0),  # 49: more than 120 ms
        (b"\xe3\x00", 0),  # none
        (b"\xe3", 0),  # the second byte is missing
        (b"", 0),
    ],
)
def test_packet_tells_its_length(head, samples):
    """RFC 6716, table 2 and section 3.2."""
    assert opus.packet_samples(head) == samples


@pytest.mark.long
@pytest.mark.parametrize("page_microseconds", [0, 20_000, 1_000_000, 10_000_000])
@pytest.mark.parametrize("frame_ms", ["2.5", "10", "20", "60", "120"])
def test_pages_tell_what_the_decoder_finds(frame_ms, page_microseconds, tmp_path):
    path = encoding.write(
        tmp_path / "made.opus",
        tone(7.3, rate=48_000),
        container="ogg",
        codec="libopus",
        rate=48_000,
        options={"frame_duration": frame_ms},
        container_options={"page_duration": str(page_microseconds)},
    )
    counted = counted_ms(path)
    assert counted == pytest.approx(decoded_ms(path), abs=1)
    assert probed_ms(path) == counted


@pytest.mark.long
@pytest.mark.parametrize("segments", [1, 3, 10, 100, 255])
def test_packets_that_go_on_in_the_next_page_are_counted_once(segments, tmp_path):
    """A packet of 120 ms at 256 kbit/s has up to 16 segments."""
    whole = encoding.write(
        tmp_path / "whole.opus",
        np.random.default_rng(1).normal(0, 0.2, (1, 30 * 48_000)).astype(np.float32),
        container="ogg",
        codec="libopus",
        rate=48_000,
        options={"frame_duration": "120", "b": "256000"},
    )
    path = many_packets.repaged(whole, tmp_path / "made.opus", segments=segments)
    counted = counted_ms(path)
    if segments >= 10:  # with fewer, there are too many pages for the packets
        assert counted == pytest.approx(30_000, abs=120)
    assert probed_ms(path) == pytest.approx(decoded_ms(path), abs=20)
    assert counted is None or counted == probed_ms(path)


def test_stream_that_was_joined_late_is_counted_from_there(tmp_path):
    path = many_packets.ogg(tmp_path / "live.opus", seconds=20, first_granule=10**9)
    assert counted_ms(path) == pytest.approx(20_000, abs=1)
    assert probed_ms(path) == counted_ms(path)


def without_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def with_a_flipped_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def with_another_file_behind(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def with_text_behind(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"text" * 20)


@pytest.mark.long
@pytest.mark.parametrize("spoil", [without_end, with_a_flipped_bit, with_another_file_behind, with_text_behind])
def test_file_in_doubt_is_left_to_its_packets(spoil, tmp_path):
    path = many_packets.ogg(tmp_path / "made.opus", seconds=20)
    assert counted_ms(path) is not None
    spoil(path)
    assert counted_ms(path) is None
    assert probed_ms(path) == pytest.approx(decoded_ms(path), abs=30)


def test_lost_pages_are_left_to_the_packets_and_become_silence(tmp_path):
    path = many_packets.ogg(tmp_path / "gap.opus", seconds=20, skipped_pages=8)
    assert counted_ms(path) is None
    assert probed_ms(path) == pytest.approx(20_000, abs=30)


def test_pages_that_sell_time_without_packets_are_not_believed(tmp_path):
    """Attack: each page says that it ends an hour later. And the other way: an hour of packets within a minute."""
    for factor in (100, 0.01):
        path = many_packets.ogg(tmp_path / "lie.opus", seconds=20, clock=factor)
        assert counted_ms(path) is None


def test_pages_of_one_packet_are_not_counted_for_long(tmp_path):
    """Counting them would cost more than reading the packets."""
    path = many_packets.ogg(tmp_path / "live.opus", seconds=20, packets_per_page=1)
    assert counted_ms(path) is None
    assert probed_ms(path) == pytest.approx(20_000, abs=30)


def test_other_codecs_in_ogg_are_not_counted(tmp_path):
    path = encoding.write(
        tmp_path / "made.ogg", tone(3, rate=44_100, channels=2), container="ogg", codec="vorbis", rate=44_100
    )
    assert counted_ms(path) is None
