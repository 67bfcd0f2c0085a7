from __future__ import annotations

import pytest

from transcription.speech.timeline import Clock, Timeline


def added(*packets, has_stamps=True):
    """Return the timeline after packets of (start, seconds)."""
    timeline = Timeline(has_stamps=has_stamps)
    for start, seconds in packets:
        timeline.add(start, seconds)
    return timeline


def test_small_deviations_add_up_until_they_count():
    """Every 50th packet of 20 ms is lost: each gap is too small to be filled at once."""
    kept = [(number * 0.02, 0.02) for number in range(30_000) if number % 50]
    assert added(*kept).total_ms == pytest.approx(600_000, abs=60)


@pytest.mark.parametrize("factor", [0.99, 0.995, 1.005, 1.1])
def test_clock_of_another_speed_is_followed(factor):
    assert added(*((number * 0.02 * factor, 0.02) for number in range(30_000))).total_ms == pytest.approx(
        600_000 * factor, abs=100
    )


@pytest.mark.long
def test_hour_cannot_be_sold_for_the_stamps_of_a_minute():
    packets = [(number * 0.02 / 60, 0.02) for number in range(180_000)]
    assert added(*packets).total_ms >= 3_600_000 * 0.98


@pytest.mark.parametrize("gap", [0.06, 4, 700, 20_000])
def test_pause_of_any_length_is_kept(gap):
    timeline = Timeline()
    timeline.add(0.0, 1.0)
    assert timeline.add(1.0 + gap, 1.0).gap == pytest.approx(gap)
    assert timeline.position == pytest.approx(2.0 + gap)


def test_new_start_follows_the_part_before():
    assert added((0.0, 10.0), (10.0, 10.0), (0.0, 10.0), (10.0, 10.0)).total_ms == 40_000


def test_pause_after_a_new_start_is_kept():
    assert added((0.0, 10.0), (0.0, 10.0), (15.0, 10.0)).total_ms == 35_000


def test_unknown_length_is_told_by_the_next_stamp():
    timeline = added((0.0, None), (0.5, None), (1.0, None))
    timeline.end()
    assert timeline.total_ms == 1_500


@pytest.mark.parametrize("seconds", [-1.0, 149 * 3600.0, 5_000_000.0])
def test_impossible_length_counts_as_unknown(seconds):
    timeline = added((0.0, 0.5), (0.5, seconds))
    timeline.end()
    assert timeline.total_ms == 1_000


def test_counted_stamps_are_not_believed_except_the_first():
    assert added((2.0, 1.0), (500.0, 1.0), (900.0, 1.0), has_stamps=False).total_ms == 5_000


def corrected(*packets):
    clock = Clock()
    return [round(seconds + clock.correct(track, seconds), 3) for track, seconds in packets]


def test_clock_that_restarts_is_joined():
    assert corrected((0, 5000.0), (0, 5001.0), (0, 1.0), (0, 2.0)) == [5000.0, 5001.0, 5001.0, 5002.0]


def test_all_tracks_restart_by_the_same_time():
    video, sound = 0, 1
    assert corrected((video, 100.0), (sound, 100.1), (video, 7.0), (sound, 100.5), (sound, 7.2)) == [
        100.0,
        100.1,
        100.0,
        100.5,
        100.2,
    ]


def test_track_that_begins_far_behind_the_others_follows_them():
    """A recording with other tracks was joined. Its video has the correction of its sound."""
    video, sound, other_sound, other_video = range(4)
    before = [(track, at + 0.1 * track) for at in range(0, 61, 5) for track in (video, sound)]
    found = corrected(*before, (other_sound, 1.4), (other_video, 1.0), (other_sound, 1.5))
    assert found[len(before) :] == [60.1, 59.7, 60.2]


@pytest.mark.parametrize("seconds", [28.0, 400.0])
def test_track_that_begins_late_beside_the_others_keeps_its_time(seconds):
    before = [(0, float(at)) for at in range(0, 31, 5)]
    assert corrected(*before, (1, seconds), (1, seconds + 1))[len(before) :] == [seconds, seconds + 1]


def test_pause_that_another_track_fills_is_no_restart():
    video, sound = 0, 1
    packets = [(sound, 0.0), *((video, float(at)) for at in range(0, 701, 5)), (sound, 700.0)]
    assert corrected(*packets)[-1] == 700.0
