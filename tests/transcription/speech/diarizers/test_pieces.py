from __future__ import annotations

import numpy as np
import pytest

from transcription.speech.diarizers import pieces
from transcription.speech.diarizers.pieces import PieceCutter
from transcription.speech.diarizers.segmentation import FRAMES_PER_SECOND


def frames(seconds):
    return round(seconds * FRAMES_PER_SECOND)


def activity(*said):
    """Return the activity of channels. said: (seconds, channels that speak)."""
    rows = []
    for seconds, channels in said:
        row = np.zeros(3, dtype=np.uint8)
        row[list(channels)] = 200
        rows += [row] * frames(seconds)
    return np.array(rows)


def speeches(made, *, block=148):
    """Return (channel, pieces) of each speech."""
    cutter = PieceCutter()
    cut = [speech for start in range(0, len(made), block) for speech in cutter.feed(made[start : start + block])]
    return [*cut, *cutter.finish()]


def found(made, *, block=148):
    """Return (channel, runs) of each piece."""
    return [(channel, piece) for channel, parts in speeches(made, block=block) for piece in parts]


def seconds(piece):
    return pieces.length(piece[1]) / FRAMES_PER_SECOND


@pytest.mark.parametrize(("length", "count"), [(0.4, 1), (3, 1), (4, 1), (5, 2), (9, 3), (29, 10)])
def test_speech_is_cut_into_equal_parts_of_about_three_seconds(length, count):
    cut = found(activity((1, []), (length, [1]), (2, [])))
    assert [channel for channel, _ in cut] == [1] * count
    assert [seconds(piece) for piece in cut] == pytest.approx([length / count] * count, abs=0.05)


def test_pieces_of_one_speech_come_together():
    cut = speeches(activity((9, [1]), (0.2, []), (3, [1]), (2, [0])))
    assert [(channel, len(parts)) for channel, parts in cut] == [(1, 4), (0, 1)]


def test_speaker_goes_on_after_a_short_pause():
    cut = found(activity((1, [0]), (0.4, []), (1, [0])))
    ((channel, runs),) = cut
    assert (channel, len(runs)) == (0, 2)
    assert pieces.length(runs) == pytest.approx(frames(2), abs=1)


def test_long_pause_ends_a_piece():
    assert len(found(activity((1, [0]), (0.6, []), (1, [0])))) == 2


def test_somebody_else_in_between_ends_a_piece():
    assert [channel for channel, _ in found(activity((1, [0]), (0.2, [2]), (1, [0])))] == [0, 2, 0]


def test_what_two_say_at_once_is_in_no_piece():
    cut = found(activity((1, [0]), (1, [0, 1]), (1, [1])))
    assert [(channel, round(seconds((channel, runs)))) for channel, runs in cut] == [(0, 1), (1, 1)]
    spoken = {frame for _, runs in cut for begin, end in runs for frame in range(begin, end)}
    assert spoken.isdisjoint(range(frames(1) + 1, frames(2) - 1))


def test_speech_without_a_pause_is_cut_after_half_a_minute():
    cutter = PieceCutter()
    made = activity((100, [0]))
    waited = 0
    for start in range(0, len(made), 148):
        list(cutter.feed(made[start : start + 148]))
        waited = max(waited, start + 148 - cutter.first_frame)
    assert waited < frames(pieces.MAX_SPEECH_SECONDS) + 2 * 148


@pytest.mark.parametrize("block", [7, 148, 100_000])
def test_blocks_leave_no_trace(block):
    made = activity((1, []), (2, [0]), (0.3, []), (4, [0]), (1, [0, 2]), (2, [2]), (1, []), (0.5, [1]), (3, []))
    assert speeches(made, block=block) == speeches(made, block=50)


def test_every_frame_of_somebody_alone_is_in_one_piece():
    chance = np.random.default_rng(3)
    said = [(chance.uniform(0.05, 4), chance.choice(3, size=chance.integers(0, 3), replace=False)) for _ in range(200)]
    made = activity(*said)
    counted = np.zeros(made.shape, dtype=int)
    for channel, runs in found(made):
        for begin, end in runs:
            counted[begin:end, channel] += 1
    alone = (made > 0).sum(axis=1) == 1
    assert np.array_equal(counted, np.where(alone[:, None], made > 0, 0))
