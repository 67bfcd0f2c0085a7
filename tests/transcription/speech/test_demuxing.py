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
