from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures import encoding
from tests.fixtures.encoding import tone
from tests.transcription.speech.listening import HOUR_MS, heard, loud_from_to
from transcription.speech import hearing, probing


def test_track_after_a_silent_one_is_heard(tmp_path):
    silent = np.zeros((1, 5 * 48_000), dtype=np.float32)
    path = encoding.write(
        tmp_path / "screen.mkv", [silent, tone(5, rate=48_000)], container="matroska", codec="aac", rate=48_000
    )
    assert loud_from_to(heard(path)[0]) == pytest.approx((0, 5), abs=0.1)


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize("mark", ["comment", "visual_impaired", "hearing_impaired", "dub"])
def test_tracks_that_repeat_the_main_one_are_left_out(mark, tmp_path):
    import av

    path = encoding.write(
        tmp_path / "film.mkv", [tone(5, rate=48_000, level=0.2), tone(5, rate=48_000, level=0.8)],
        container="matroska", codec="libopus", rate=48_000, dispositions=[1, int(av.stream.Disposition[mark])],
    )  # fmt: skip
    samples, facts = heard(path)
    assert np.abs(samples[8_000:-8_000]).max() == pytest.approx(0.2, rel=0.05)
    assert facts == [hearing.Fact("tracks_left_out", count=1)]


@pytest.mark.parametrize("number", [0, 1])
def test_track_in_an_unknown_codec_is_told_and_the_others_are_heard(number, tmp_path):
    path = encoding.write(tmp_path / "call.mkv", [tone(5), tone(5)], container="matroska", codec="flac")
    head, *tracks = path.read_bytes().split(b"A_FLAC")
    names = [b"A_FLAC", b"A_FLAC"]
    names[number] = b"A_NEWC"
    path.write_bytes(head + names[0] + tracks[0] + names[1] + tracks[1])
    samples, facts = heard(path)
    assert loud_from_to(samples) == pytest.approx((0, 5), abs=0.1)
    assert facts == [hearing.Fact("tracks_unreadable", count=1)]


@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("flac", "flac")])
def test_cover_of_a_song_is_no_video(container, codec, tmp_path):
    """A video would give the time at which the sound begins."""
    import av

    path = tmp_path / "song"
    whole = encoding.write(tmp_path / "sound", tone(5), container=container, codec=codec)
    with av.open(str(whole)) as read, av.open(str(path), "w", format=container) as out:
        picture = out.add_stream("png")
        picture.width = picture.height = 32
        picture.pix_fmt = "rgb24"
        picture.disposition = int(av.stream.Disposition.attached_pic)
        sound = out.add_stream_from_template(read.streams.audio[0])
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
        out.mux(picture.encode(frame))
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = sound
                out.mux(packet)
    samples, facts = heard(path)
    assert loud_from_to(samples) == pytest.approx((0, 5), abs=0.1)
    assert facts == []
