from __future__ import annotations

import io
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.fixtures import encoding, hostile, make_recordings, recordings
from tests.fixtures.encoding import tone
from transcription.speech import audio, containers, errors, hearing, probing
from transcription.speech.samples import SAMPLE_RATE, SAMPLES_PER_MS, ms_to_samples, samples_to_ms

HOUR_MS = 3_600_000
MADE = recordings.everything()


def read(path, max_duration_ms=10 * HOUR_MS):
    return np.concatenate(list(audio.windows(path, max_duration_ms=max_duration_ms)))


@pytest.mark.parametrize("recording", MADE, ids=lambda one: one.path.name)
def test_decoded_length_is_the_probed_length(recording):
    decoded_ms = samples_to_ms(len(read(recording.path)))
    assert abs(decoded_ms - probing.probe(recording.path, max_duration_ms=10 * HOUR_MS).duration_ms) <= 100


def test_playlist_reaches_no_other_file(tmp_path):
    """Attack: a playlist makes the server read its own files or call its own network."""
    target = recordings.named("sentence-slt.wav").path
    with pytest.raises(errors.NotAudio):
        read(hostile.playlist(tmp_path, target=f"file://{target}"))


def test_bomb_is_refused_while_decoding_too(tmp_path):
    windows = audio.windows(hostile.flac_bomb(tmp_path), max_duration_ms=60_000)
    assert len(next(windows)) == ms_to_samples(30_000)
    with pytest.raises(errors.AudioTooLong):
        list(windows)


def test_corrupt_packets_are_skipped(tmp_path):
    content = bytearray(recordings.named("sentence-rms.mp3").path.read_bytes())
    content[15_000:15_800] = bytes(800)
    path = tmp_path / "scratched.mp3"
    path.write_bytes(content)
    decoded_ms = samples_to_ms(len(read(path)))
    assert abs(decoded_ms - recordings.named("sentence-rms.mp3").duration_ms) < 400


def test_samples_are_finite_and_in_range():
    samples = read(recordings.named("noise.wav").path)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1.0


def test_other_rates_and_channels_come_out_as_16_khz_mono(tmp_path):
    tone = (np.sin(np.arange(44_100) * 2 * np.pi * 440 / 44_100) * 10_000).astype("<i2")
    path = tmp_path / "tone.wav"
    make_recordings.encode(path, tone, rate=44_100)
    assert abs(len(read(path)) - SAMPLE_RATE) <= SAMPLES_PER_MS


def test_windows_have_the_length_asked_for():
    path = recordings.named("dialogue.flac").path
    lengths = [len(window) for window in audio.windows(path, max_duration_ms=HOUR_MS, window_ms=4_000)]
    assert lengths[:-1] == [ms_to_samples(4_000)] * (len(lengths) - 1)
    assert samples_to_ms(sum(lengths)) == recordings.named("dialogue.flac").duration_ms


def test_long_file_is_decoded_in_flat_memory(tmp_path):
    """An hour of float32 samples is 230 MB; decoding must need much less."""
    path = tmp_path / "long.flac"
    make_recordings.encode(path, np.zeros(make_recordings.RATE * 1_800, dtype="<i2"))
    program = (
        "import resource, sys; from transcription.speech import audio\n"
        "first = None\n"
        f"for window in audio.windows({str(path)!r}, max_duration_ms=3_600_000):\n"
        "    first = first or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first)\n"
    )
    grown_kib = int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout)
    assert grown_kib < 30_000


def test_web_process_imports_nothing_heavy():
    program = "import sys; from transcription.speech import audio, options, probing, transcript, registry, formats\n"
    program += "print([m for m in ('av','numpy','torch','ctranslate2','faster_whisper','pocketsphinx','onnxruntime',"
    program += "'sklearn','scipy','zmq','django') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"


def test_peaks_follow_the_loudness():
    drawn = audio.peaks(recordings.named("dialogue.flac").path, max_duration_ms=HOUR_MS, count=50)
    assert len(drawn) == 50
    assert max(drawn) > 20
    assert all(0 <= peak <= 100 for peak in drawn)


def heard(path, *, channel=None):
    """Return (samples, facts). Asserts that the probe finds the decoded length."""
    facts: list[hearing.Fact] = []
    samples = np.concatenate(list(audio.windows(path, max_duration_ms=10 * HOUR_MS, channel=channel, facts=facts)))
    assert abs(probing.probe(path, max_duration_ms=10 * HOUR_MS).duration_ms - samples_to_ms(len(samples))) <= 100
    return samples, facts


def loud_from_to(samples):
    """Return the seconds at which sound begins and ends."""
    loud = np.flatnonzero(np.abs(samples) > 0.05)
    return loud[0] / SAMPLE_RATE, loud[-1] / SAMPLE_RATE


# The mix


@pytest.mark.parametrize(("channels", "codec"), [(2, "pcm_f32le"), (6, "pcm_f32le"), (2, "pcm_s16le")])
def test_equal_channels_keep_their_level(channels, codec, tmp_path):
    sound = tone(2, channels=channels, level=0.9)
    samples, _ = heard(encoding.write(tmp_path / "equal.wav", sound, container="wav", codec=codec))
    assert np.abs(samples).max() == pytest.approx(0.9, abs=0.001)


def test_reversed_polarity_gives_the_words_of_the_mono(tmp_path):
    """`sox speech.wav inv.wav remix 1 1i` was completed without words."""
    mono = read(recordings.named("sentence-slt.wav").path)
    sound = np.vstack([mono, -mono])
    samples, _ = heard(encoding.write(tmp_path / "inv.wav", sound, container="wav", codec="pcm_f32le"))
    assert np.allclose(samples, mono, atol=1e-4)


@pytest.mark.parametrize("channels", [3, 7, 8, 9, 10, 12, 16, 64])
@pytest.mark.parametrize("place", ["first", "last"])
def test_no_channel_is_dropped(channels, place, tmp_path):
    sound = np.zeros((channels, 2 * SAMPLE_RATE), dtype=np.float32)
    sound[0 if place == "first" else -1] = tone(2)[0]
    path = encoding.wav(tmp_path / "many.wav", sound)
    assert np.abs(heard(path)[0]).max() == pytest.approx(0.4, abs=0.001)
    number = 0 if place == "first" else channels - 1
    assert np.abs(heard(path, channel=number)[0]).max() == pytest.approx(0.4, abs=0.001)
    assert np.abs(heard(path, channel=1)[0]).max() == 0


@pytest.mark.parametrize(("container", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("ogg", "libopus")])
def test_each_of_eight_channels_is_its_own(container, codec, tmp_path):
    """PyAV reads beyond the planes of a planar frame of 8 channels."""
    sound = np.vstack([tone(2, rate=48_000, level=0.1 * (number + 1)) for number in range(8)])
    path = encoding.write(tmp_path / "film", sound, container=container, codec=codec, rate=48_000)
    for number in range(8):
        samples, _ = heard(path, channel=number)
        assert np.abs(samples[8_000:24_000]).max() == pytest.approx(0.1 * (number + 1), rel=0.05)


def test_center_of_a_film_is_heard(tmp_path):
    sound = np.zeros((6, 2 * SAMPLE_RATE), dtype=np.float32)
    sound[2] = tone(2)[0]
    samples, _ = heard(encoding.write(tmp_path / "film.wav", sound, container="wav", codec="pcm_s16le"))
    assert np.abs(samples).max() == pytest.approx(0.4, abs=0.001)


def test_float_of_another_scale_is_not_clipped(tmp_path):
    sound = tone(2, level=20_000.0)
    samples, _ = heard(encoding.write(tmp_path / "scale.wav", sound, container="wav", codec="pcm_f32le"))
    assert np.corrcoef(samples, sound[0])[0, 1] > 0.99


# The start, gaps and drift


@pytest.mark.parametrize("video_seconds", [0.0, 6.0])
@pytest.mark.parametrize("offset", ["0", "300", "90000"])
def test_transport_stream_begins_at_its_start(video_seconds, offset, tmp_path):
    path = encoding.write(
        tmp_path / "off.ts", tone(6, rate=48_000), container="mpegts", codec="aac", rate=48_000,
        video_seconds=video_seconds, container_options={"output_ts_offset": offset},
    )  # fmt: skip
    samples, _ = heard(path)
    assert loud_from_to(samples) == pytest.approx((0, 6), abs=0.1)


def test_segment_of_a_fragmented_mp4_begins_at_its_start(tmp_path):
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    path = encoding.write(
        tmp_path / "s.mp4", tone(6), container="mp4", codec="aac", starts=[400.0], container_options=options
    )
    assert loud_from_to(heard(path)[0]) == pytest.approx((0, 6), abs=0.1)


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "aac"), ("matroska", "libopus"), ("mpegts", "aac"), ("nut", "libopus")]
)
def test_sound_that_begins_after_the_video_keeps_its_time(container, codec, tmp_path):
    path = encoding.write(
        tmp_path / "late", tone(6, rate=48_000), container=container, codec=codec, rate=48_000, video_seconds=10,
        starts=[4.0],
    )  # fmt: skip
    assert loud_from_to(heard(path)[0]) == pytest.approx((4, 10), abs=0.1)


def test_flac_that_was_cut_without_encoding_begins_at_once(tmp_path):
    whole = encoding.write(tmp_path / "whole.flac", tone(10, rate=44_100), container="flac", codec="flac", rate=44_100)
    path = encoding.remux(
        whole, tmp_path / "cut.flac", container="flac", place=lambda _, __, at: at if at > 7.2 else None
    )
    assert loud_from_to(heard(path)[0]) == pytest.approx((0, 2.75), abs=0.1)


@pytest.mark.parametrize("container", ["matroska", "ogg", "mp4"])
def test_lost_packets_do_not_add_up(container, tmp_path):
    """Every 50th packet of 20 ms is lost: the last words were 11.8 s early in 10 minutes."""
    rate = 48_000
    whole = encoding.write(tmp_path / "whole", tone(120, rate=rate), container="matroska", codec="libopus", rate=rate)
    path = encoding.remux(
        whole, tmp_path / "lossy", container=container, place=lambda _, number, at: at if number % 50 != 49 else None
    )
    assert samples_to_ms(len(heard(path)[0])) == pytest.approx(120_000, abs=100)


@pytest.mark.parametrize("factor", [0.995, 1.005, 1.02])
@pytest.mark.parametrize(("container", "codec"), [("matroska", "libopus"), ("mp4", "aac")])
def test_clock_of_another_speed_is_followed(container, codec, factor, tmp_path):
    rate = 48_000
    whole = encoding.write(tmp_path / "whole", tone(60, rate=rate), container=container, codec=codec, rate=rate)
    path = encoding.remux(whole, tmp_path / "drift", container=container, place=lambda _, __, at: at * factor)
    samples, _ = heard(path)
    assert samples_to_ms(len(samples)) == pytest.approx(60_000 * factor, abs=100)
    assert np.abs(samples[-100 * SAMPLES_PER_MS :]).max() > 0.3


def test_hour_is_not_sold_for_the_stamps_of_a_minute(tmp_path):
    """Attack: the length that is paid for follows the time stamps, and the work follows the packets."""
    whole = encoding.write(tmp_path / "whole", tone(60, rate=48_000), container="mp4", codec="aac", rate=48_000)
    path = encoding.remux(whole, tmp_path / "fast", container="mp4", place=lambda _, __, at: at / 60)
    assert samples_to_ms(len(heard(path)[0])) >= 58_000


@pytest.mark.parametrize("container", ["matroska", "mp4", "mpegts", "mov"])
@pytest.mark.parametrize("pause", [4, 700])
def test_mute_in_a_video_keeps_its_length(container, pause, tmp_path):
    whole = encoding.write(
        tmp_path / "whole", tone(20, rate=48_000), container="mp4", codec="aac", rate=48_000, video_seconds=20 + pause
    )
    path = encoding.remux(
        whole, tmp_path / "mute", container=container,
        place=lambda kind, _, at: at + pause if kind == "audio" and at > 10 else at,
    )  # fmt: skip
    samples, facts = heard(path)
    assert loud_from_to(samples) == pytest.approx((0, 20 + pause), abs=0.15)
    assert [fact.kind for fact in facts] == (["gap"] if pause > 60 else [])


def test_browser_recording_with_a_long_pause_keeps_its_length(tmp_path):
    """MediaRecorder sends nothing while it is paused, and there is no other track."""
    whole = encoding.write(tmp_path / "whole", tone(20, rate=48_000), container="webm", codec="libopus", rate=48_000)
    path = encoding.remux(
        whole, tmp_path / "pause.webm", container="webm", place=lambda _, __, at: at if at < 10 else at + 900
    )
    assert loud_from_to(heard(path)[0]) == pytest.approx((0, 920), abs=0.1)


@pytest.mark.parametrize("codec", ["aac", "mp2"])
@pytest.mark.parametrize("video_seconds", [0.0, 5.0])
@pytest.mark.parametrize("offsets", [("5000", "0"), ("0", "5000"), ("0", "0")])
def test_joined_transport_streams_follow_each_other(codec, video_seconds, offsets, tmp_path):
    made = [
        encoding.write(
            tmp_path / f"{number}.ts", tone(5, rate=48_000), container="mpegts", codec=codec, rate=48_000,
            video_seconds=video_seconds, container_options={"output_ts_offset": offset},
        )
        for number, offset in enumerate(offsets)
    ]  # fmt: skip
    samples, _ = heard(encoding.joined(tmp_path / "joined.ts", *made))
    assert samples_to_ms(len(samples)) == pytest.approx(10_000, abs=150)


@pytest.mark.parametrize(
    ("codec", "rate"), [("g726", 8_000), ("g722", 16_000), ("libopencore_amrnb", 8_000), ("g723_1", 8_000)]
)
def test_telephone_sound_in_avi_has_its_length(codec, rate, tmp_path):
    """5 s of G.726 were charged as 83 minutes (findings/avi-telephone-times.sh)."""
    path = encoding.write(tmp_path / "camera.avi", tone(5, rate=rate), container="avi", codec=codec, rate=rate)
    assert samples_to_ms(len(heard(path)[0])) == pytest.approx(5_000, abs=100)


@pytest.mark.parametrize("container", ["amr", "3gp"])
def test_telephone_recording_may_begin_and_end_with_a_pause(container, tmp_path):
    """FFmpeg decodes no packet of a pause (findings/amr-dtx-pauses.sh)."""
    quiet = np.random.default_rng(1).normal(0, 1e-3, (1, 40_000)).astype(np.float32)
    sound = np.hstack([quiet, tone(2, rate=8_000), quiet, tone(2, rate=8_000), quiet])
    path = encoding.write(
        tmp_path / "call", sound, container=container, codec="libopencore_amrnb", rate=8_000, options={"dtx": "1"}
    )
    samples, facts = heard(path)
    assert samples_to_ms(len(samples)) == pytest.approx(19_000, abs=200)
    assert loud_from_to(samples) == pytest.approx((5, 14), abs=0.3)
    assert facts == []


@pytest.mark.parametrize("count", [5_000, 6_144, 8_000, 40_240])
def test_lossless_voice_memo_keeps_its_end(count, tmp_path):
    """FFmpeg takes what the last packet lacks away twice (findings/caf-alac-last-frames.sh)."""
    path = encoding.write(
        tmp_path / "memo.caf", tone(count / 8_000, rate=8_000), container="caf", codec="alac", rate=8_000
    )
    samples, _ = heard(path)
    assert len(samples) >= count * 2
    assert loud_from_to(samples)[1] == pytest.approx(count / 8_000, abs=0.01)


# Tracks


def test_track_after_a_silent_one_is_heard(tmp_path):
    silent = np.zeros((1, 5 * 48_000), dtype=np.float32)
    path = encoding.write(
        tmp_path / "screen.mkv", [silent, tone(5, rate=48_000)], container="matroska", codec="aac", rate=48_000
    )
    assert loud_from_to(heard(path)[0]) == pytest.approx((0, 5), abs=0.1)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "libopus"), ("mpegts", "aac")])
def test_two_persons_on_two_tracks_are_heard(container, codec, tmp_path):
    path = encoding.write(
        tmp_path / "call", [tone(4, rate=48_000), tone(6, rate=48_000, hertz=900)], container=container, codec=codec,
        rate=48_000, starts=[0.0, 4.0],
    )  # fmt: skip
    samples, facts = heard(path)
    assert loud_from_to(samples) == pytest.approx((0, 10), abs=0.1)
    assert facts == []
    assert loud_from_to(heard(path, channel=0)[0]) == pytest.approx((0, 4), abs=0.1)
    assert loud_from_to(heard(path, channel=1)[0]) == pytest.approx((4, 10), abs=0.1)
    assert probing.probe(path, max_duration_ms=HOUR_MS).channels == 2


@pytest.mark.parametrize(("dispositions", "level"), [([1, 0], 0.2), ([0, 1], 0.8)])
def test_dubbed_film_is_heard_in_its_default_language(dispositions, level, tmp_path):
    path = encoding.write(
        tmp_path / "film.mkv", [tone(5, rate=48_000, level=0.2), tone(5, rate=48_000, level=0.8)],
        container="matroska", codec="libopus", rate=48_000, dispositions=dispositions,
        metadata=[{"language": "eng"}, {"language": "ger"}],
    )  # fmt: skip
    samples, facts = heard(path)
    assert np.abs(samples[8_000:-8_000]).max() == pytest.approx(level, rel=0.05)
    assert facts == [hearing.Fact("tracks_left_out", count=1)]


def test_comments_are_left_out(tmp_path):
    import av

    comment = int(av.stream.Disposition.comment)
    path = encoding.write(
        tmp_path / "film.mkv", [tone(5, rate=48_000, level=0.2), tone(5, rate=48_000, level=0.8)],
        container="matroska", codec="libopus", rate=48_000, dispositions=[1, comment],
    )  # fmt: skip
    samples, facts = heard(path)
    assert np.abs(samples[8_000:-8_000]).max() == pytest.approx(0.2, rel=0.05)
    assert [fact.kind for fact in facts] == ["tracks_left_out"]


# Joined files


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
    monkeypatch.setattr(containers, "MAX_SCANNED", 1_000)
    began = time.process_time()
    assert len(containers.parts(io.BytesIO(head + page * 1_000_000))) == 1
    assert time.process_time() - began < 0.5
