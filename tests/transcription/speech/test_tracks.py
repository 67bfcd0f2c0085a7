from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures import encoding
from tests.fixtures.encoding import tone
from tests.transcription.speech.listening import heard, loud_from_to
from transcription.speech.samples import SAMPLES_PER_MS, samples_to_ms


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("ogg", "libopus"),
        ("ogg", "vorbis"),
        ("matroska", "libopus"),
        ("mp4", "aac"),
        ("mov", "pcm_s16le"),
    ],
)
@pytest.mark.parametrize("place", [7.2, 7.5])
def test_file_that_was_cut_without_encoding_begins_at_the_cut(container, codec, place, tmp_path):
    """Its first packet begins before the cut, at a time below 0."""
    sound = tone(10, rate=48_000, channels=2 if codec == "vorbis" else 1)
    whole = encoding.write(tmp_path / "whole", sound, container=container, codec=codec, rate=48_000)
    path = encoding.remux(
        whole, tmp_path / "cut", container=container, place=lambda _, __, at: at - place if at > 7.2 else None
    )
    samples, facts = heard(path)
    shifts_times = container == "matroska"  # it has none below 0
    seconds = 2.8 if shifts_times else 10 - place
    assert samples_to_ms(len(samples)) == pytest.approx(seconds * 1000, abs=100)
    assert loud_from_to(samples) == pytest.approx((0, seconds), abs=0.1)
    assert facts == []


@pytest.mark.parametrize("start", [0, 50_000])
def test_ogg_flac_of_a_radio_begins_where_it_was_joined(start, tmp_path):
    """libav stamps the packets of its first page from 0 on: hours of silence followed."""
    whole = encoding.write(tmp_path / "whole.oga", tone(10, rate=44_100), container="ogg", codec="flac", rate=44_100)
    path = encoding.remux(
        whole, tmp_path / "live.oga", container="ogg", place=lambda _, __, at: start + at if at > 7.2 else None
    )
    assert loud_from_to(heard(path)[0]) == pytest.approx((0, 2.75), abs=0.1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("ipod", "aac", 44_100), ("ipod", "alac", 44_100), ("mov", "pcm_s16le", 44_100), ("mp4", "libopus", 48_000)],
)
@pytest.mark.parametrize(
    ("pieces", "seconds"),
    [
        ([(4.0, 3.0)], [3, 4, 5, 6]),
        ([(4.0, 0.0)], [0, 1, 2, 3]),
        ([(2.0, 0.0), (3.0, 6.0)], [0, 1, 6, 7, 8]),
        ([(3.0, 6.0), (2.0, 0.0)], [6, 7, 8, 0, 1]),
    ],
    ids=["begin and end", "end", "middle", "order"],
)
def test_memo_that_was_trimmed_has_what_its_edit_list_keeps(container, codec, rate, pieces, seconds, tmp_path):
    """A trimmed memo was refused, or began with a second of silence. Each second has its own level."""
    levels = [0.1 + 0.08 * second for second in range(10)]
    sound = np.hstack([tone(1, rate=rate, level=level) for level in levels])
    whole = encoding.write(tmp_path / "whole", sound, container=container, codec=codec, rate=rate)
    samples, facts = heard(encoding.edited(whole, tmp_path / "trimmed", pieces=pieces))
    assert samples_to_ms(len(samples)) == pytest.approx(len(seconds) * 1000, abs=120)
    found = [np.abs(samples[at * 16_000 + 6_000 : at * 16_000 + 10_000]).max() for at in range(len(seconds))]
    assert found == pytest.approx([levels[one] for one in seconds], abs=0.03)
    assert facts == []


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize(("container", "codec"), [("ipod", "aac"), ("mov", "pcm_s16le")])
def test_pause_in_an_edit_list_is_silence(container, codec, is_wide, tmp_path):
    """FFmpeg repeats the beginning there (findings/mp4-pause-repeats-the-beginning.sh)."""
    levels = [0.1 + 0.08 * second for second in range(10)]
    sound = np.hstack([tone(1, rate=44_100, level=level) for level in levels])
    whole = encoding.write(tmp_path / "whole", sound, container=container, codec=codec, rate=44_100)
    pieces = [(1.0, None), (2.0, 0.0), (3.0, None), (2.0, 2.0), (1.0, None), (1.0, 9.0)]
    samples, _ = heard(encoding.edited(whole, tmp_path / "made", pieces=pieces, is_wide=is_wide))
    found = [np.abs(samples[at * 16_000 + 6_000 : at * 16_000 + 10_000]).max() for at in range(9)]
    # What precedes the sound is no part of a recording without pictures.
    assert found == pytest.approx([levels[0], levels[1], 0, 0, 0, levels[2], levels[3], 0, levels[9]], abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("container", ["matroska", "ogg", "mp4"])
def test_lost_packets_do_not_add_up(container, tmp_path):
    """Every 50th packet of 20 ms is lost: the last words were 11.8 s early in 10 minutes."""
    rate = 48_000
    whole = encoding.write(tmp_path / "whole", tone(120, rate=rate), container="matroska", codec="libopus", rate=rate)
    path = encoding.remux(
        whole, tmp_path / "lossy", container=container, place=lambda _, number, at: at if number % 50 != 49 else None
    )
    assert samples_to_ms(len(heard(path)[0])) == pytest.approx(120_000, abs=100)


@pytest.mark.long
@pytest.mark.parametrize("factor", [0.995, 1.005, 1.02])
@pytest.mark.parametrize(("container", "codec"), [("matroska", "libopus"), ("mp4", "aac")])
def test_clock_of_another_speed_is_followed(container, codec, factor, tmp_path):
    rate = 48_000
    whole = encoding.write(tmp_path / "whole", tone(60, rate=rate), container=container, codec=codec, rate=rate)
    path = encoding.remux(whole, tmp_path / "drift", container=container, place=lambda _, __, at: at * factor)
    samples, _ = heard(path)
    assert samples_to_ms(len(samples)) == pytest.approx(60_000 * factor, abs=100)
    assert np.abs(samples[-100 * SAMPLES_PER_MS :]).max() > 0.3


@pytest.mark.long
def test_hour_is_not_sold_for_the_stamps_of_a_minute(tmp_path):
    """Attack: the length that is paid for follows the time stamps, and the work follows the packets."""
    whole = encoding.write(tmp_path / "whole", tone(60, rate=48_000), container="mp4", codec="aac", rate=48_000)
    path = encoding.remux(whole, tmp_path / "fast", container="mp4", place=lambda _, __, at: at / 60)
    assert samples_to_ms(len(heard(path)[0])) >= 58_000


@pytest.mark.long
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


@pytest.mark.long
def test_browser_recording_with_a_long_pause_keeps_its_length(tmp_path):
    """MediaRecorder sends nothing while it is paused, and there is no other track."""
    whole = encoding.write(tmp_path / "whole", tone(20, rate=48_000), container="webm", codec="libopus", rate=48_000)
    path = encoding.remux(
        whole, tmp_path / "pause.webm", container="webm", place=lambda _, __, at: at if at < 10 else at + 900
    )
    assert loud_from_to(heard(path)[0]) == pytest.approx((0, 920), abs=0.1)


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize("video_seconds", [0.0, 20.0])
@pytest.mark.parametrize(
    ("container", "codecs"), [("mpegts", ("aac", "aac")), ("mpegts", ("mp2", "ac3")), ("vob", ("mp2", "ac3"))]
)
@pytest.mark.parametrize("seconds", [5, 20])
def test_joined_streams_with_other_tracks_follow_each_other(container, codecs, seconds, video_seconds, tmp_path):
    """Recordings of two stations: the tracks of the second were told as unreadable, or heard over the first."""
    made = [
        encoding.write(
            tmp_path / str(number), tone(seconds, rate=48_000, hertz=hertz), container=container, codec=codec,
            rate=48_000, video_seconds=min(video_seconds, seconds),
            container_options={"mpegts_start_pid": number} if container == "mpegts" else {},
        )
        for number, codec, hertz in (("256", codecs[0], 440.0), ("768", codecs[1], 900.0))
    ]  # fmt: skip
    samples, facts = heard(encoding.joined(tmp_path / "joined", *made))
    assert samples_to_ms(len(samples)) == pytest.approx(2_000 * seconds, abs=250)
    assert loud_from_to(samples) == pytest.approx((0, 2 * seconds), abs=0.25)
    assert facts == []


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


@pytest.mark.long
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("container", ["mp4", "ipod", "mov", "3gp", "matroska"])
@pytest.mark.parametrize("seconds", [5, 5.03])
def test_padding_of_the_last_frame_is_not_heard(container, rate, seconds, tmp_path):
    """AAC has frames of 1,024 samples: an MP4 of 8 kHz ended up to 128 ms late."""
    path = encoding.write(tmp_path / "memo", tone(seconds, rate=rate), container=container, codec="aac", rate=rate)
    samples, facts = heard(path, slack_ms=10 if container != "matroska" else 130)
    exact = container != "matroska"
    assert samples_to_ms(len(samples)) == pytest.approx(seconds * 1000, abs=5 if exact else 1024_000 / rate + 30)
    assert loud_from_to(samples)[1] == pytest.approx(seconds, abs=0.05)
    assert facts == []
