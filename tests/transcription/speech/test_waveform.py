"""How loud a recording is, in few numbers: whatever its length, with what parts it comes, and who speaks in a bar."""

import re

import numpy as np
import pytest

from transcription.speech import turns
from transcription.speech.samples import SAMPLE_RATE
from transcription.speech.transcript import Segment, Transcript
from transcription.speech.waveform import STEP_SAMPLES, TOP, Waveform, bars_of


def tone(seconds: float, *, height: float) -> np.ndarray:
    count = int(seconds * SAMPLE_RATE)
    return (height * np.sin(np.arange(count) * 0.3)).astype(np.float32)


def heard(*windows: np.ndarray) -> Waveform:
    waveform = Waveform()
    for window in windows:
        waveform.add(window)
    return waveform


def test_loudest_bar_is_the_top_and_silence_is_nothing():
    peaks = heard(tone(10, height=0.5), np.zeros(10 * SAMPLE_RATE, np.float32), tone(10, height=0.125)).peaks(count=30)
    assert len(peaks) == 30
    assert set(peaks[:10]) == {TOP}
    assert set(peaks[10:20]) == {0}
    assert all(abs(peak - TOP / 2) <= 2 for peak in peaks[20:])


@pytest.mark.parametrize("height", [0.01, 0.2, 1.0, 4.0])
def test_quiet_and_overdriven_recordings_fill_the_drawing_alike(height):
    assert max(heard(tone(5, height=height)).peaks()) == TOP


def test_parts_of_any_size_make_the_same():
    whole = np.concatenate([tone(3, height=0.1), tone(4, height=0.8), tone(2.33, height=0.3)])
    parts = np.split(whole, [STEP_SAMPLES, 5 * STEP_SAMPLES, 100 * STEP_SAMPLES])
    assert heard(*parts).peaks() == heard(whole).peaks()
    assert heard(whole, np.zeros(0, np.float32)).peaks() == heard(whole).peaks()


@pytest.mark.parametrize("samples", [1, STEP_SAMPLES, 7 * STEP_SAMPLES + 3])
def test_short_recording_has_as_many_bars_as_steps(samples):
    assert len(heard(np.full(samples, 0.5, np.float32)).peaks()) == -(-samples // STEP_SAMPLES)


@pytest.mark.parametrize("windows", [[], [np.zeros(SAMPLE_RATE, np.float32)], [np.full(SAMPLE_RATE, 1e-4, np.float32)]])
def test_recording_without_sound_has_no_drawing(windows):
    assert heard(*windows).peaks() == ()


def test_of_two_channels_the_louder_one_counts_at_each_moment():
    left, right = tone(4, height=0.8), np.concatenate([np.zeros(2 * SAMPLE_RATE, np.float32), tone(4, height=0.8)])
    for one, other in ((left, right), (right, left)):
        joined = heard(one)
        joined.join(heard(other))
        peaks = joined.peaks(count=60)
        assert len(peaks) == 60
        assert min(peaks) >= TOP - 2


def test_bar_belongs_to_whoever_speaks_in_its_middle():
    bars = bars_of((50, 50, 0, 100), duration_ms=4_000, spoken=[(0, 900, 0), (1_400, 1_600, 1), (3_000, 9_000, 0)])
    assert dict(bars) == {0: "M0 25v50M3 0v100", 1: "M1 25v50", None: "M2 49v2"}


def test_page_draws_the_speakers_of_the_transcript_and_nothing_for_older_results():
    segments = (Segment(0, 1_000, "One.", speaker="S2"), Segment(1_000, 2_000, "Two.", speaker="S1"))
    result = Transcript("en", None, 2_000, segments, engine="x", peaks=(10, 20))
    drawn = turns.waveform(result)
    assert drawn["width"] == 2
    # In the colors of the text.
    assert [position for position, _ in drawn["bars"]] == [one["position"] for one in turns.paragraphs(result)]
    older = {name: value for name, value in result.to_dict().items() if name != "peaks"}
    assert turns.waveform(Transcript.from_dict(older)) is None
    assert Transcript.from_dict(result.to_dict()).peaks == (10, 20)


def test_drawing_of_ten_hours_is_small():
    rng = np.random.default_rng(1)
    waveform = Waveform()
    for _ in range(600):
        waveform.add(rng.uniform(-1, 1, 60 * SAMPLE_RATE // 20).astype(np.float32))
    peaks = waveform.peaks()
    path = "".join(path for _, path in bars_of(peaks, duration_ms=36_000_000, spoken=[]))
    assert len(peaks) == 400
    assert len(path) < 5_000
    assert re.fullmatch(r"(?:M\d+ \d+v\d+)+", path)
