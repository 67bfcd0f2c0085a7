from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from transcription.speech.diarizers import timeline
from transcription.speech.diarizers.segmentation import FRAMES_PER_SECOND
from transcription.speech.diarizers.timeline import NOBODY, Piece


def frames(seconds):
    return round(seconds * FRAMES_PER_SECOND)


def activity(seconds, *spoken):
    """Return the activity of a section. spoken: (channel, first second, last second, activity)."""
    made = np.zeros((frames(seconds), 3), dtype=np.uint8)
    for channel, begin, end, level in spoken:
        made[frames(begin) : frames(end), channel] = level
    return made


def piece(channel, begin, end, voice):
    return channel, [(frames(begin), frames(end))], voice


def turns(made, pieces, *, start_frame=0, end_ms=1_000_000):
    """Return the turns as (first second, last second, speaker, is_background), sorted."""
    found = timeline.turns(made, pieces, start_frame=start_frame, end_ms=end_ms)
    return sorted(
        (round(turn.start_ms / 1000, 1), round(turn.end_ms / 1000, 1), turn.speaker, turn.is_background)
        for turn in found
    )


def test_pieces_of_one_voice_are_one_turn():
    made = activity(10, (0, 1, 7, 200))
    assert turns(made, [piece(0, 1, 4, 0), piece(0, 4, 7, 0)]) == [(1.0, 7.0, "S1", False)]


def test_louder_of_two_is_in_front_and_the_other_in_the_background():
    made = activity(10, (0, 0, 6, 220), (1, 4, 9, 150))
    assert turns(made, [piece(0, 0, 4, 0), piece(1, 6, 9, 1)]) == [
        (0.0, 6.0, "S1", False),
        (4.0, 6.0, "S2", True),
        (6.0, 9.0, "S2", False),
    ]


def test_who_is_in_front_does_not_change_from_syllable_to_syllable():
    made = activity(10, (0, 0, 6, 200), (1, 4, 9, 190))
    made[frames(4) : frames(6) : 7, 1] = 255
    assert len(turns(made, [piece(0, 0, 4, 0), piece(1, 6, 9, 1)])) == 3


def test_channel_changes_its_owner():
    made = activity(20, (0, 0, 5, 200), (0, 10, 15, 200))
    assert turns(made, [piece(0, 0, 5, 0), piece(0, 10, 15, 1)]) == [
        (0.0, 5.0, "S1", False),
        (10.0, 15.0, "S2", False),
    ]


def test_overlap_goes_to_the_nearest_piece_of_its_channel():
    made = activity(20, (0, 0, 20, 200), (1, 5, 9, 150))
    pieces = [piece(0, 0, 5, 0), piece(1, 8, 9, 1), piece(0, 9, 20, 0)]
    made[frames(8) : frames(9), 0] = 0
    assert (5.0, 8.0, "S2", True) in turns(made, pieces)


def test_unknown_second_speaker_is_who_else_spoke_nearest_in_time():
    made = activity(40, (0, 0, 5, 200), (1, 8, 22, 200), (2, 10, 12, 100), (0, 23, 27, 200))
    pieces = [piece(0, 0, 5, 0), piece(1, 8, 10, 1), piece(1, 12, 22, 1), piece(0, 23, 27, 2)]
    assert (10.0, 12.0, "S1", True) in turns(made, pieces)


def test_unknown_second_speaker_long_after_everybody_else_is_left_out():
    made = activity(100, (0, 0, 5, 200), (1, 50, 70, 200), (2, 60, 62, 100))
    pieces = [piece(0, 0, 5, 0), piece(1, 50, 60, 1), piece(1, 62, 70, 1)]
    assert not any(is_background for *_, is_background in turns(made, pieces))


def test_two_channels_of_one_voice_are_one_turn():
    made = activity(10, (0, 0, 6, 200), (1, 4, 9, 210))
    assert turns(made, [piece(0, 0, 4, 0), piece(1, 6, 9, 0)]) == [(0.0, 9.0, "S1", False)]


def test_times_are_those_of_the_recording_and_inside_it():
    made = activity(10, (0, 0, 10, 200))
    assert turns(made, [piece(0, 0, 10, 0)], start_frame=frames(60), end_ms=65_000) == [(60.0, 65.0, "S1", False)]


def test_front_never_overlaps_and_nobody_is_behind_themselves():
    chance = np.random.default_rng(4)
    made = (chance.random((20, 3)) > 0.6).repeat(40, axis=0).astype(np.uint8)
    made *= chance.integers(1, 255, made.shape).astype(np.uint8)
    alone = (made > 0).sum(axis=1) == 1
    pieces = [
        (channel, [(index, index + 1)], int(chance.integers(0, 4)))
        for channel in range(3)
        for index in np.flatnonzero(alone & (made[:, channel] > 0)).tolist()
    ]
    found = list(timeline.turns(made, pieces, start_frame=0, end_ms=1_000_000))
    front = sorted((turn.start_ms, turn.end_ms) for turn in found if not turn.is_background)
    assert all(left[1] <= right[0] for left, right in pairwise(front))
    for behind in (turn for turn in found if turn.is_background):
        same = [turn for turn in found if turn.speaker == behind.speaker and not turn.is_background]
        assert all(turn.end_ms <= behind.start_ms or behind.end_ms <= turn.start_ms for turn in same)


def unit(*numbers):
    return np.array(numbers, dtype=np.float32)


@pytest.mark.parametrize(
    ("voice_print", "seconds", "channel", "voice"),
    [
        (unit(0, 1), 0.6, 0, 1),  # its print is surer than its channel
        (unit(1.0, 1.1), 0.4, 0, 0),  # its print says little, so it stays with its channel
        (unit(1.0, 1.1), 0.4, 2, 1),  # no piece of its channel is near
        (None, 0.1, 0, 0),
        (None, 0.1, 2, 1),  # neither print nor channel: the nearest in time
    ],
)
def test_short_pieces_go_to_the_voice_that_is_likely(voice_print, seconds, channel, voice):
    pieces = [
        Piece(0, 0, [(frames(0), frames(3))], unit(1, 0)),
        Piece(0, channel, [(frames(4), frames(4 + seconds))], voice_print),
        Piece(0, 1, [(frames(5), frames(8))], unit(0, 1)),
    ]
    labels = np.array([0, NOBODY, 1])
    found = timeline.label_short(pieces, labels, voices=np.eye(2, dtype=np.float32), section_frames=[0])
    assert found.tolist() == [0, voice, 1]
