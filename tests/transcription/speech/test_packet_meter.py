from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.fixtures import encoding, many_packets
from tests.fixtures.encoding import tone
from transcription.speech import audio, packet_meter, probing
from transcription.speech.samples import samples_to_ms

HOUR_MS = 3_600_000
# 12 frames of 512 samples at 48 kHz, by FFmpeg 5.1's encoder.
DTS = Path(__file__).resolve().parents[2] / "fixtures/frames.dts"


def probe(path):
    return probing.probe(path, max_duration_ms=10 * HOUR_MS)


# (container, codecs with a sample rate each). With a video too, where the container takes one.
PAIRS = {
    "wav": "pcm_s16le@16000 pcm_u8@8000 pcm_s24le@48000 pcm_f32le@44100 pcm_f64le@44100 pcm_mulaw@8000 pcm_alaw@8000 "
    "adpcm_ima_wav@22050 adpcm_ms@22050 libmp3lame@44100 ac3@48000 wmav2@44100 g722@16000 g726@8000 g723_1@8000",
    "mp3": "libmp3lame@8000 libmp3lame@22050 libmp3lame@44100 libmp3lame@48000",
    "mp2": "mp2@44100",
    "adts": "aac@8000 aac@44100",
    "latm": "aac@44100",
    "ipod": "aac@44100 alac@44100",
    "mp4": "aac@48000 libmp3lame@44100 libopus@48000 flac@48000 ac3@48000",
    "mov": "pcm_s16be@48000 pcm_mulaw@8000 adpcm_ima_qt@44100 alac@44100 ac3@48000 eac3@48000 pcm_f32be@48000",
    "3gp": "libopencore_amrnb@8000 aac@16000",
    "amr": "libopencore_amrnb@8000",
    "matroska": "aac@22050 aac@44100 libopus@48000 vorbis@44100 libmp3lame@44100 flac@44100 ac3@48000 eac3@48000 "
    "pcm_s16le@44100 pcm_f32le@16000 mp2@44100 alac@44100 wavpack@44100 tta@44100",
    "webm": "libopus@48000 vorbis@44100",
    "ogg": "libopus@48000 vorbis@44100 flac@44100",
    "flac": "flac@16000 flac@96000",
    "flv": "aac@44100 libmp3lame@44100 pcm_s16le@44100 adpcm_swf@22050 nellymoser@22050 pcm_alaw@8000 "
    "libopus@48000 flac@48000 ac3@48000 eac3@48000",
    "avi": "libmp3lame@44100 aac@44100 ac3@48000 wmav1@44100 wmav2@44100 pcm_s16le@48000 adpcm_ima_wav@22050 g726@8000 "
    "g722@16000 g723_1@8000 libopencore_amrnb@8000 pcm_mulaw@8000 mp2@48000 vorbis@44100 flac@44100 adpcm_yamaha@22050",
    "asf": "wmav1@44100 wmav2@44100 libmp3lame@44100 aac@44100 pcm_s16le@44100",
    "mpegts": "aac@48000 mp2@48000 ac3@48000 libmp3lame@48000 libopus@48000",
    "vob": "ac3@48000",
    "mpeg": "mp2@44100",
    "aiff": "pcm_s16be@44100 pcm_mulaw@8000",
    "caf": "alac@44100 pcm_s16le@44100 adpcm_ima_qt@44100 pcm_mulaw@8000 libmp3lame@44100 pcm_f32be@44100",
    "au": "pcm_mulaw@8000 pcm_s16be@16000",
    "w64": "pcm_s16le@44100 adpcm_ms@22050 g722@16000 libmp3lame@44100 pcm_mulaw@8000",
    "wv": "wavpack@44100",
    "tta": "tta@44100",
    "voc": "pcm_u8@22050",
    "sox": "pcm_s32le@16000",
    "rm": "ac3@44100",
    "nut": "aac@44100 vorbis@44100 libopus@48000",
    "ac3": "ac3@48000",
    "eac3": "eac3@48000",
}
WITH_VIDEO = ("matroska", "mp4", "mov", "mpegts", "avi", "asf", "nut", "vob", "3gp")
TABLE = [
    (container, *pair.split("@"), seconds)
    for container, pairs in PAIRS.items()
    for pair in pairs.split()
    for seconds in ((0.0, 5.0) if container in WITH_VIDEO else (0.0,))
]


@pytest.mark.long
@pytest.mark.parametrize(("container", "codec", "rate", "video_seconds"), TABLE)
def test_probe_agrees_with_the_decoder(container, codec, rate, video_seconds, tmp_path):
    """Matroska and FLV round lengths to milliseconds, AVI and some codecs state none. 5 s show an error of 2 %."""
    sound = tone(5, rate=int(rate), channels=2 if codec == "vorbis" else 1)
    path = encoding.write(
        tmp_path / "made", sound, container=container, codec=codec, rate=int(rate), video_seconds=video_seconds
    )
    found_ms = probe(path).duration_ms
    decoded_ms = samples_to_ms(sum(len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS)))
    assert abs(found_ms - decoded_ms) <= 100
    assert abs(found_ms - 5_000) <= 250


@pytest.mark.long
@pytest.mark.parametrize("container", ["matroska", "mp4", "mpegts", "avi", "wav"])
def test_dts_is_measured_as_it_decodes(container, tmp_path):
    """Matroska rounds its packets of 10.67 ms: 60 s were 56.25 s. The libav of PyAV has no encoder for it."""
    import av

    seconds = 15  # 14.06 would be told apart
    count = seconds * 48_000 // 512
    path = tmp_path / "film"
    with av.open(str(DTS), format="dts") as read, av.open(str(path), "w", format=container) as out:
        packets = [bytes(packet) for packet in read.demux() if packet.size]
        stream = out.add_stream_from_template(read.streams.audio[0], opaque=True)
        for number in range(count):
            packet = av.Packet(packets[number % len(packets)])
            packet.stream, packet.time_base = stream, Fraction(512, 48_000)
            packet.pts = packet.dts = number
            packet.duration = 1
            out.mux(packet)
    decoded_ms = samples_to_ms(sum(len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS)))
    assert probe(path).duration_ms == pytest.approx(decoded_ms, abs=100)
    assert decoded_ms == pytest.approx(seconds * 1000, abs=100)


def test_table_is_long_enough():
    assert len({(container, codec) for container, codec, *_ in TABLE}) >= 80


def test_impossible_length_of_the_last_packet_is_not_counted(tmp_path):
    """FFmpeg states 149 hours for the last packet of an Ogg Vorbis of one page (findings/ogg-vorbis-one-page.sh)."""
    path = encoding.write(
        tmp_path / "say.ogg", tone(3, rate=44_100, channels=2), container="ogg", codec="vorbis", rate=44_100,
        container_options={"page_duration": "10000000"},
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    at = content.rindex(b"OggS")
    content[at + 6 : at + 14] = (100).to_bytes(8, "little")  # the end of the page, before the start of its packets
    content[at + 22 : at + 26] = bytes(4)
    content[at + 22 : at + 26] = ogg_checksum(content[at:]).to_bytes(4, "little")
    path.write_bytes(content)
    import av

    with av.open(str(path)) as container:
        assert max(packet.duration or 0 for packet in container.demux()) > 20 * 3600 * 44_100
    assert 2_500 < probe(path).duration_ms <= 3_100


def ogg_checksum(page: bytes) -> int:
    """Return the CRC of an Ogg page (RFC 3533): polynomial 0x04C11DB7, no reflection."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def test_header_that_understates_packets_does_not_sell_them(tmp_path):
    """Attack: a time table of an MP4 that gives each packet a thousandth of its length."""
    whole = encoding.write(tmp_path / "whole", tone(20, rate=48_000), container="mp4", codec="aac", rate=48_000)
    path = encoding.remux(whole, tmp_path / "cheap.mp4", container="mp4", place=lambda _, __, at: at / 1000)
    assert probe(path).duration_ms > 19_000


@pytest.mark.slow
def test_frames_that_shrink_later_are_noticed(tmp_path):
    """AAC may halve its sample rate in the middle: the packets at the start do not tell."""
    made = [
        encoding.write(tmp_path / str(rate), tone(60, rate=rate), container="adts", codec="aac", rate=rate)
        for rate in (48_000, 16_000)
    ]
    assert probe(encoding.joined(tmp_path / "both.aac", *made)).duration_ms == pytest.approx(120_000, abs=300)


@pytest.mark.long
@pytest.mark.parametrize("container", ["webm", "ogg"])
def test_shortest_packets_are_measured_as_they_decode(container, tmp_path):
    """WebM rounds 2.5 ms to milliseconds."""
    path = getattr(many_packets, container)(tmp_path / "tiny", seconds=10)
    decoded = sum(len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS))
    found_ms = probe(path).duration_ms
    assert found_ms == pytest.approx(samples_to_ms(decoded), abs=10)
    assert found_ms == pytest.approx(10_000, abs=10)


@pytest.mark.long
def test_padding_of_the_last_packet_does_not_cast_doubt_on_the_others(tmp_path):
    """The packets are counted, and the last one decodes to less: a decoder of all of them would find 6 ms less."""
    import av

    for tenths in range(60, 160):
        path = encoding.write(
            tmp_path / f"{tenths}.mp3", tone(tenths / 10, rate=8_000), container="mp3", codec="libmp3lame", rate=8_000
        )
        with av.open(str(path)) as container:
            packets = sum(1 for packet in container.demux() if packet.size)
        if packets % packet_meter.CHECK_EVERY == packet_meter.CHECKED_PACKETS - 1:
            break
    assert packets % packet_meter.CHECK_EVERY == packet_meter.CHECKED_PACKETS - 1
    decoded = sum(len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS))
    assert samples_to_ms(decoded) < probe(path).duration_ms == packets * 72
