from __future__ import annotations

import resource
import struct
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures import encoding, hostile, many_packets, recordings
from tests.fixtures.encoding import tone
from tests.transcription.speech.listening import heard, loud_from_to
from transcription.speech import audio, errors, hearing, probing, signatures
from transcription.speech.samples import samples_to_ms

HOUR_MS = 3_600_000
MADE = recordings.everything()


def probe(path, max_duration_ms=10 * HOUR_MS):
    return probing.probe(path, max_duration_ms=max_duration_ms)


@pytest.mark.parametrize("recording", MADE, ids=lambda one: one.path.name)
def test_length_is_measured_in_every_format(recording):
    found = probe(recording.path)
    assert recording.duration_ms <= found.duration_ms <= recording.duration_ms + 120  # encoders add padding


def test_video_gives_its_sound():
    found = probe(recordings.named("sentence-slt.mp4").path)
    assert (found.codec, found.sample_rate, found.channels) == ("aac", 16_000, 1)


def test_browser_webm_without_length_is_measured(tmp_path):
    whole = recordings.named("sentence-slt.webm").path.read_bytes()
    at = whole.index(b"\x44\x89\x88")  # the Duration element, overwritten with Void: browsers write none
    path = tmp_path / "recorded.webm"
    path.write_bytes(whole[:at] + b"\xec\x89" + bytes(9) + whole[at + 11 :])
    assert 3_400 <= probe(path).duration_ms <= 3_700


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (hostile.empty, errors.EmptyAudio),
        (hostile.text, errors.NotAudio),
        (hostile.random_bytes, errors.NotAudio),
        (hostile.playlist, errors.NotAudio),
        (hostile.hidden_playlist, errors.NotAudio),
        (hostile.archive, errors.NotAudio),
        (hostile.image, errors.NotAudio),
        (hostile.no_moov, errors.NotAudio),
        (hostile.truncated, errors.TruncatedAudio),
        (hostile.wav, errors.NoDuration),
        (hostile.flac_bomb, errors.AudioTooLong),
    ],
    ids=lambda one: one.__name__,
)
def test_hostile_file_is_refused_in_the_child(make, error, tmp_path):
    with pytest.raises(error) as caught:
        probing.probe_in_child(make(tmp_path), max_duration_ms=10 * HOUR_MS)
    assert type(caught.value) is error
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize("file", ["sentence-slt.wav", "sentence-slt.flac", "sentence-slt.mp3", "sentence-rms.mp3"])
def test_truncated_file_is_refused(file, tmp_path):
    with pytest.raises(errors.TruncatedAudio) as caught:
        probe(hostile.truncated(tmp_path, file=file, part=0.6))
    assert caught.value.data["found_ms"] < caught.value.data["declared_ms"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("container", "codec"),
    [("matroska", "libopus"), ("webm", "libopus"), ("avi", "libmp3lame"), ("asf", "wmav2")],
)
@pytest.mark.parametrize("video_seconds", [0.0, 20.0])
def test_container_that_was_cut_is_refused(container, codec, video_seconds, tmp_path):
    """Their headers state their length in bytes. Half of a recording was charged, and nothing said that it was half."""
    if (container, video_seconds) == ("asf", 20.0):
        video_seconds = 0.0
    whole = encoding.write(
        tmp_path / "whole", tone(20, rate=48_000), container=container, codec=codec, rate=48_000,
        video_seconds=video_seconds,
    )  # fmt: skip
    assert probe(whole).duration_ms == pytest.approx(20_000, abs=100)
    content = whole.read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(errors.TruncatedAudio, match=r"header says 0:00:(19|2.), and it holds 0:00:1"):
        probe(path)
    facts: list[hearing.Fact] = []
    decoded = sum(len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS, facts=facts))
    assert samples_to_ms(decoded) == pytest.approx(
        probing.probe(path, max_duration_ms=HOUR_MS, may_be_truncated=True).duration_ms, abs=100
    )
    assert [fact.kind for fact in facts if fact.kind != "stopped"] == ["truncated"]


@pytest.mark.long
def test_avi_that_lost_its_index_is_whole(tmp_path):
    """The index is a twentieth of an AVI of short packets. Without it no sound is missing, and the file was refused."""
    whole = encoding.write(tmp_path / "whole", tone(60, rate=44_100), container="avi", codec="libmp3lame", rate=44_100)
    content = whole.read_bytes()
    index_at = content.rindex(b"idx1")
    assert len(content) - index_at > len(content) // 50
    path = tmp_path / "cut"
    path.write_bytes(content[:index_at])
    assert probe(path).duration_ms == pytest.approx(60_000, abs=100)
    path.write_bytes(content[: index_at * 9 // 10])
    with pytest.raises(errors.TruncatedAudio):
        probe(path)


@pytest.mark.parametrize("container", ["matroska", "avi", "asf"])
def test_length_that_is_not_stated_yet_is_unknown(container, tmp_path):
    """A program that streams writes none, or a placeholder."""
    whole = encoding.write(
        tmp_path / "whole", tone(5, rate=48_000), container=container, codec="libmp3lame", rate=48_000,
        container_options={"live": "1"} if container == "matroska" else {},
    )  # fmt: skip
    content = bytearray(whole.read_bytes())
    if container == "avi":
        content[4:8] = bytes(4)
    if container == "asf":
        at = content.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
        content[at + 40 : at + 48] = (1 << 40).to_bytes(8, "little")
        content[at + 88] |= 1  # a broadcast
    path = tmp_path / "streamed"
    path.write_bytes(content)
    assert probe(path).duration_ms == pytest.approx(5_000, abs=100)


def recorder_wav(path, *, seconds, long=False, order="little", kept=1.0):
    """Write a WAV as field recorders do: 20 kB about the take before the sound. long: as RF64."""
    sound = (tone(seconds) * 32767).astype("<i2" if order == "little" else ">i2").tobytes()
    take = b"bext" + (602).to_bytes(4, order) + bytes(602) + b"iXML" + (20_000).to_bytes(4, order) + b" " * 20_000
    kind = (16).to_bytes(4, order) + b"".join(
        number.to_bytes(size, order) for number, size in ((1, 2), (1, 2), (16_000, 4), (32_000, 4), (2, 2), (16, 2))
    )
    size = (0xFFFFFFFF if long else len(sound)).to_bytes(4, order)
    sizes = b"ds64" + (28).to_bytes(4, order) + (len(sound) + 20_800).to_bytes(8, order)
    sizes += len(sound).to_bytes(8, order) + bytes(12)
    body = b"WAVE" + (sizes if long else b"") + take + b"fmt " + kind + b"data" + size + sound[: int(len(sound) * kept)]
    head = b"RF64" if long else b"RIFF" if order == "little" else b"RIFX"
    path.write_bytes(head + (0xFFFFFFFF if long else len(body)).to_bytes(4, order) + body)
    return path


@pytest.mark.parametrize("kind", [{}, {"long": True}, {"order": "big"}], ids=["bwf", "rf64", "rifx"])
def test_wav_of_a_recorder_that_was_cut_is_refused(kind, tmp_path):
    """Its sizes stand behind some kilobytes about the take, or are 64 bits wide: they were not read."""
    assert probe(recorder_wav(tmp_path / "whole.wav", seconds=20, **kind)).duration_ms == 20_000
    with pytest.raises(errors.TruncatedAudio, match="header says 0:00:20, and it holds 0:00:12"):
        probe(recorder_wav(tmp_path / "cut.wav", seconds=20, kept=0.6, **kind))


def test_recorder_wav_whose_size_is_too_small_is_heard_to_the_end(tmp_path):
    content = bytearray(recorder_wav(tmp_path / "whole.wav", seconds=20).read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = (64_000).to_bytes(4, "little")
    path = tmp_path / "small.wav"
    path.write_bytes(content)
    assert probe(path).duration_ms == 20_000


@pytest.mark.parametrize("declared_bytes", [0xFFFFFFFF, 0x7FFFFFFF, 0])
def test_streamed_wav_of_unknown_size_is_accepted(declared_bytes, tmp_path):
    path = hostile.wav(tmp_path, data=bytes(64_000), declared_bytes=declared_bytes)
    assert probe(path).duration_ms == 2_000


def test_wav_that_promises_more_than_it_holds_is_refused(tmp_path):
    with pytest.raises(errors.TruncatedAudio):
        probe(hostile.wav(tmp_path, data=bytes(64_000), declared_bytes=640_000))


def test_impossible_sample_rate_is_refused(tmp_path):
    with pytest.raises(errors.NotAudio):
        probe(hostile.wav(tmp_path, data=bytes(64_000), rate=1))


def test_video_without_sound_is_named(tmp_path):
    import av

    path = tmp_path / "silent-film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(errors.NoAudioTrack):
        probe(path)


def test_extension_does_not_choose_the_reader(tmp_path):
    path = tmp_path / "song.txt"
    path.write_bytes(recordings.named("sentence-slt.flac").path.read_bytes())
    assert probe(path).format == "flac"


def test_bomb_is_probed_cheaply(tmp_path):
    bomb = hostile.flac_bomb(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(errors.AudioTooLong):
        probing.probe(bomb, max_duration_ms=10 * HOUR_MS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 2.0


@pytest.mark.parametrize(("tag", "name"), [(0x38, "NMS ADPCM"), (0x40, "G.721")])
def test_wav_that_libav_takes_for_another_codec_is_refused(tag, name, tmp_path):
    with pytest.raises(errors.NotAudio, match=name):
        probe(encoding.wav(tmp_path / "voicemail.wav", tone(2, rate=8_000), rate=8_000, tag=tag))


def test_whole_telephone_files_are_not_taken_for_cut_off(tmp_path):
    """The header of W64 with Microsoft ADPCM may state 1e15 s (findings/header-lengths.sh)."""
    path = encoding.write(tmp_path / "call.w64", tone(5, rate=8_000), container="w64", codec="adpcm_ms", rate=8_000)
    content = bytearray(path.read_bytes())
    at = content.find(b"fact")
    assert at > 0
    content[at + 24 : at + 32] = (1 << 62).to_bytes(8, "little")
    path.write_bytes(content)
    assert probe(path).duration_ms == pytest.approx(5_000, abs=100)


def test_gsm_in_aiff_is_not_taken_for_cut_off(tmp_path):
    """FFmpeg takes the number of samples for a number of blocks of 160: 5 s become 800 s."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + len(content).to_bytes(4, "big") + content

    rate = b"\x40\x0b\xfa\x00\x00\x00\x00\x00\x00\x00"  # 8000 as an 80-bit float
    common = (1).to_bytes(2, "big") + (40_000).to_bytes(4, "big") + bytes(2) + rate + b"GSM " + b"\x00\x00"
    blocks = (b"\xd0" + bytes(32)) * 250
    body = b"AIFC" + chunk(b"FVER", b"\xa2\x80\x51\x40") + chunk(b"COMM", common) + chunk(b"SSND", bytes(8) + blocks)
    path = tmp_path / "call.aiff"
    path.write_bytes(b"FORM" + len(body).to_bytes(4, "big") + body)
    found = probe(path)
    assert (found.codec, found.duration_ms) == ("gsm", 5_000)


@cache
def minute(container, codec):
    """Return a file of 60 s of sound."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "minute"
        encoding.write(path, tone(60, rate=48_000), container=container, codec=codec, rate=48_000)
        return path.read_bytes()


def damaged(path, *, container, codec, part, fill):
    """Write 60 s of sound and overwrite a part of the file, from its middle on."""
    content = bytearray(minute(container, codec))
    size = int(len(content) * part)
    random = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8).tobytes()
    content[len(content) // 2 : len(content) // 2 + size] = bytes(size) if fill == "zeros" else random
    path.write_bytes(content)
    return path


@pytest.mark.long
@pytest.mark.parametrize("fill", ["zeros", "random"])
@pytest.mark.parametrize("part", [0.01, 0.05, 0.1])
@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("ac3", "ac3")])
def test_damaged_stream_is_not_taken_for_cut_off(container, codec, part, fill, tmp_path):
    """The time of what is lost becomes silence, so that words behind it have their times."""
    path = damaged(tmp_path / "damaged", container=container, codec=codec, part=part, fill=fill)
    assert probe(path).duration_ms == pytest.approx(60_000, abs=800)
    facts: list[hearing.Fact] = []
    decoded = sum(len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS, facts=facts))
    assert samples_to_ms(decoded) == pytest.approx(60_000, abs=800)
    assert part < 0.05 or [fact.kind for fact in facts] == ["damaged"]


def test_refusal_of_a_cut_file_tells_both_lengths(tmp_path):
    path = hostile.wav(tmp_path, data=bytes(64_000), declared_bytes=640_000)
    with pytest.raises(errors.TruncatedAudio, match="header says 0:00:20, and it holds 0:00:02"):
        probe(path)


@pytest.mark.parametrize("file", ["sentence-slt.wav", "sentence-slt.flac", "sentence-slt.mp3"])
def test_what_is_there_of_a_cut_file_is_measured_on_request(file, tmp_path):
    path = hostile.truncated(tmp_path, file=file, part=0.6)
    found = probing.probe_in_child(path, max_duration_ms=HOUR_MS, may_be_truncated=True)
    facts: list[hearing.Fact] = []
    decoded = sum(len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS, facts=facts))
    assert abs(samples_to_ms(decoded) - found.duration_ms) <= 100
    assert [fact.kind for fact in facts] == ["truncated"]
    assert facts[0].at_ms < 2_800 < facts[0].end_ms


def test_later_piece_of_a_browser_recording_is_named(tmp_path):
    whole = encoding.write(tmp_path / "w", tone(30, rate=48_000), container="webm", codec="libopus", rate=48_000)
    content = whole.read_bytes()
    path = tmp_path / "later.webm"
    path.write_bytes(content[content.index(b"\x1f\x43\xb6\x75", len(content) // 2) :])
    with pytest.raises(errors.NotAudio, match="later piece of a WebM"):
        probe(path)


def test_later_segment_of_an_mp4_is_named(tmp_path):
    options = {"movflags": "frag_every_frame+empty_moov+default_base_moof"}
    whole = encoding.write(tmp_path / "w", tone(5), container="mp4", codec="aac", container_options=options)
    content = whole.read_bytes()
    path = tmp_path / "segment.m4s"
    path.write_bytes(content[content.index(b"moof", len(content) // 2) - 4 :])
    with pytest.raises(errors.NotAudio, match="segment of an MP4"):
        probe(path)


@pytest.mark.parametrize("mdat_bytes", [None, 0])
def test_mp4_that_was_not_finished_is_named(mdat_bytes, tmp_path):
    """The battery of a phone or camera ran out. Android and others write the size of the sound at the end, too."""
    content = encoding.write(tmp_path / "whole.mp4", tone(5), container="mp4", codec="aac").read_bytes()
    path = tmp_path / "unfinished.mp4"
    cut = bytearray(content[: content.index(b"moov") - 4])
    if mdat_bytes is not None:
        at = cut.index(b"mdat")
        cut[at - 4 : at] = mdat_bytes.to_bytes(4, "big")
    path.write_bytes(cut)
    with pytest.raises(errors.NotAudio, match="MP4 without the index"):
        probe(path)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\x03ds2", "DS2 dictation.* Save it as WAV"),
        (b"#!SILK_V3", "SILK .*WeChat.* Convert it"),
        (b"\x02#!SILK_V3", "SILK .*WeChat.* Convert it"),
        (b"SQLite format 3\0", "Audacity project. Export"),
        (b"MThd\0\0\0\6", "MIDI file, not a recording"),
    ],
)
def test_what_nobody_can_read_is_named_with_a_way_out(head, words, tmp_path):
    path = tmp_path / "voice"
    path.write_bytes(head + bytes(range(256)) * 20)
    with pytest.raises(errors.NotAudio, match=words) as caught:
        probe(path)
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(("kind", "codec", "duration_ms"), [(0, "dss_sp", 7_088), (2, "g723_1", 15_180)])
def test_dictation_is_read(kind, codec, duration_ms, tmp_path):
    """DSS: a head of two blocks of 512 bytes, blocks with a head of 6 bytes. Read in libavformat/dss.c, 2026-11-28."""
    head = bytearray(1024)
    head[:4], head[0x26:0x3E], head[0x2A4] = b"\x02dss", b"261128120000261128120100", kind
    block = bytes([0, 0, 4, 0xFF, 0, 0]) + bytes(506)
    path = tmp_path / "dictation.dss"
    path.write_bytes(bytes(head) + block * 24)
    found = probe(path)
    assert (found.codec, found.duration_ms) == (codec, pytest.approx(duration_ms, abs=30))


def dv(path):
    """Write 5 s as a MiniDV camcorder puts them on tape: pictures and sound in frames of one length."""
    import av

    with av.open(str(path), "w", format="dv") as out:
        picture, sound = out.add_stream("dvvideo", rate=25), out.add_stream("pcm_s16le", rate=48_000, layout="stereo")
        picture.width, picture.height, picture.pix_fmt = 720, 576, "yuv420p"
        both = (tone(5, rate=48_000, channels=2) * 32_767).astype(np.int16)
        for number in range(125):
            still = av.VideoFrame.from_ndarray(np.zeros((576, 720, 3), dtype=np.uint8), format="rgb24")
            out.mux(picture.encode(still))
            part = np.ascontiguousarray(both[:, number * 1_920 : (number + 1) * 1_920].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = 48_000, number * 1_920
            out.mux(sound.encode(frame))
    return path


def dav(path):
    """Write 5 s as a surveillance recorder of Dahua does. Read in libavformat/dhav.c (FFmpeg 8.1), 2026-11-30."""
    bare = tone(5, rate=8_000)
    bare = encoding.write(path.with_suffix(".ul"), bare, container="mulaw", codec="pcm_mulaw", rate=8_000)
    samples, frames = bare.read_bytes(), []
    day = 26 << 26 | 11 << 22 | 30 << 17 | 8 << 12
    for number in range(len(samples) // 320):
        at_ms = number * 40
        body = b"\x83\x01\x0a\x02" + samples[number * 320 : (number + 1) * 320]
        length = 24 + len(body) + 8
        head = struct.pack("<IIIHBB", number, length, day + at_ms // 1000, at_ms, 4, 0)
        frames.append(b"DHAV\xf0\0\0\0" + head + body + b"dhav" + struct.pack("<I", length))
    path.write_bytes(b"".join(frames))
    return path


def svx(path):
    """Write 5 s as IFF 8SVX. Layout: EA IFF 85, "8SVX" IFF 8-Bit Sampled Voice."""
    samples = (tone(5) * 127).astype(np.int8).tobytes()
    head = struct.pack(">IIIHBBI", len(samples), 0, 0, 16_000, 1, 0, 65_536)
    body = b"8SVXVHDR" + struct.pack(">I", len(head)) + head + b"BODY" + struct.pack(">I", len(samples)) + samples
    path.write_bytes(b"FORM" + struct.pack(">I", len(body)) + body)
    return path


def wtv(path):
    return encoding.write(
        path, tone(5, rate=48_000), container="wtv", codec="mp2", rate=48_000, video_seconds=5,
    )  # fmt: skip


def ircam(path):
    return encoding.write(path, tone(5), container="ircam", codec="pcm_s16le")


@pytest.mark.parametrize("make", [dv, dav, svx, wtv, ircam], ids=lambda one: one.__name__)
def test_recordings_of_cameras_and_recorders_are_read(make, tmp_path):
    """Camcorders, surveillance recorders and Windows' recorded television: FFmpeg reads them, and they were refused."""
    path = make(tmp_path / "recording")
    samples, facts = heard(path)
    assert loud_from_to(samples) == pytest.approx((0, 5), abs=0.1)
    assert facts == []
    assert not signatures.is_headerless(path.read_bytes()[: signatures.HEAD_BYTES])


@pytest.mark.parametrize("coding", ["pcm", "ulaw"])
def test_sphere_is_read(coding, tmp_path):
    """NIST SPHERE, the format of speech corpora."""
    size, kind = (2, "s2 01") if coding == "pcm" else (1, "s1 1")
    head = (
        f"NIST_1A\n   1024\nsample_count -i 16000\nsample_n_bytes -i {size}\nchannel_count -i 1\n"
        f"sample_byte_format -{kind}\nsample_rate -i 8000\nsample_coding -s{len(coding)} {coding}\nend_head\n"
    )
    path = tmp_path / "corpus.sph"
    path.write_bytes(head.encode().ljust(1024) + bytes(16_000 * size))
    assert probe(path).duration_ms == 2_000


@pytest.mark.long
def test_probe_that_needs_more_time_says_so_and_succeeds_with_it(tmp_path):
    path = many_packets.webm(tmp_path / "tiny.webm", seconds=120)
    with pytest.raises(probing.Unfinished, match="takes too long to read"):
        probing.probe_within(0.1, path, max_duration_ms=HOUR_MS)
    found = probing.probe_within(30, path, max_duration_ms=HOUR_MS, niceness=10)
    assert found.duration_ms == pytest.approx(120_000, abs=20)


@pytest.mark.slow
def test_four_hours_of_the_shortest_packets_need_few_seconds(tmp_path):
    """Reading all packets takes 80 CPU seconds."""
    path = many_packets.ogg(tmp_path / "tiny.opus", seconds=4 * 3600)
    found = probing.probe_within(20, path, max_duration_ms=10 * HOUR_MS)
    assert found.duration_ms == pytest.approx(4 * HOUR_MS, abs=10)
