from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.speech import speakers
from transcription.speech.transcript import Turn, Word


def words(*times, text="word", speaker=None):
    return [Word(text, start, end, 0.9, speaker) for start, end in times]


def named(found):
    return [word.speaker for word in found]


def test_word_belongs_to_whom_it_overlaps_most():
    found = speakers.assign(words((0, 400), (900, 1200)), [Turn(0, 950, "S1"), Turn(1100, 2000, "S2")])
    assert named(found) == ["S1", "S2"]


def test_word_outside_every_turn_belongs_to_the_nearest():
    turns = [Turn(1000, 2000, "S1"), Turn(5000, 6000, "S2")]
    assert named(speakers.assign(words((0, 100), (2100, 2300), (4500, 4700), (9000, 9100)), turns)) == [
        "S1",
        "S1",
        "S2",
        "S2",
    ]


def test_change_of_speaker_moves_into_the_pause():
    spoken = words((0, 300), (320, 600), (1100, 1400), (1420, 1700))
    turns = [Turn(0, 1300, "S1"), Turn(1300, 2000, "S2")]
    assert named(speakers.assign(spoken, turns)) == ["S1", "S1", "S2", "S2"]


def test_word_inside_an_overlap_goes_on_with_whoever_speaks():
    turns = [Turn(0, 3000, "S1"), Turn(1000, 1600, "S2"), Turn(3000, 4000, "S2"), Turn(3500, 5000, "S1")]
    spoken = words((500, 900), (1000, 1500), (1600, 1900), (3100, 3400), (3600, 3900), (4100, 4500))
    assert named(speakers.assign(spoken, turns)) == ["S1", "S1", "S1", "S2", "S2", "S1"]


def test_word_mostly_inside_the_longer_of_two_overlapping_turns_is_theirs():
    turns = [Turn(0, 1000, "S1"), Turn(600, 5000, "S2")]
    assert named(speakers.assign(words((700, 1600)), turns)) == ["S2"]


def test_pieces_of_one_speaker_count_together():
    turns = [Turn(0, 200, "S1"), Turn(200, 450, "S2"), Turn(450, 700, "S1")]
    assert named(speakers.assign(words((0, 700)), turns, tolerance_ms=0)) == ["S1"]


def test_background_gets_only_what_nobody_in_front_says():
    turns = [Turn(0, 1000, "S1"), Turn(500, 2000, "S2", is_background=True)]
    assert named(speakers.assign(words((0, 300), (900, 1300), (1500, 1900)), turns)) == ["S1", "S1", "S2"]


def test_only_background_is_better_than_nobody():
    assert named(speakers.assign(words((0, 300)), [Turn(5000, 6000, "S1", is_background=True)])) == ["S1"]


def test_a_precise_diarizer_is_not_moved_into_a_pause_far_off():
    spoken = words((0, 500), (900, 1200), (1220, 1500))
    turns = [Turn(0, 1210, "S1"), Turn(1210, 2000, "S2")]
    assert named(speakers.assign(spoken, turns, tolerance_ms=100)) == ["S1", "S1", "S2"]
    assert named(speakers.assign(spoken, turns)) == ["S1", "S2", "S2"]


def test_overlapping_turns_stay_as_they_are():
    turns = [Turn(0, 1500, "S1"), Turn(1000, 3000, "S2")]
    assert speakers.snap_to_pauses(turns, words((0, 300), (1200, 1400))) == turns


def test_word_without_length_has_a_speaker():
    turns = [Turn(0, 1000, "S1"), Turn(1000, 2000, "S2")]
    assert named(speakers.assign(words((500, 500), (1500, 1500), (9000, 9000)), turns)) == ["S1", "S2", "S2"]


def test_without_turns_nobody_is_named():
    assert named(speakers.assign(words((0, 100)), [])) == [None]


times = st.lists(st.integers(0, 60_000), min_size=2, max_size=40, unique=True).map(sorted)


somebodys = st.builds(
    lambda start, length, speaker, is_background: Turn(start, start + length, speaker, is_background),
    st.integers(0, 30_000),
    st.integers(1, 10_000),
    st.sampled_from(["S1", "S2", "S3"]),
    st.booleans(),
)


@pytest.mark.long
@given(times, st.lists(somebodys, min_size=1, max_size=12))
def test_turns_that_overlap_leave_no_word_without_speaker(word_edges, turns):
    spoken = words(*zip(word_edges[::2], word_edges[1::2], strict=False))
    turns = sorted(turns, key=lambda turn: (turn.start_ms, turn.end_ms))
    for word in speakers.assign(spoken, turns, tolerance_ms=0):
        shared = {turn.speaker for turn in turns if min(word.end_ms, turn.end_ms) > max(word.start_ms, turn.start_ms)}
        assert word.speaker in (shared or {turn.speaker for turn in turns})


@pytest.mark.long
@given(times, times, st.lists(st.sampled_from(["S1", "S2", "S3"]), min_size=40, max_size=40))
def test_no_word_is_lost_or_left_without_speaker(word_edges, turn_edges, names):
    spoken = words(*zip(word_edges[::2], word_edges[1::2], strict=False))
    pairs = zip(turn_edges[::2], turn_edges[1::2], strict=False)
    turns = [Turn(start, end, name) for (start, end), name in zip(pairs, names, strict=False)]
    found = speakers.assign(spoken, turns)
    assert [(word.start_ms, word.end_ms) for word in found] == [(word.start_ms, word.end_ms) for word in spoken]
    assert None not in named(found)
    made = speakers.segments(found)
    assert [word for segment in made for word in segment.words] == found
    assert all(len({word.speaker for word in segment.words}) == 1 for segment in made)


def test_segment_ends_at_a_pause_and_at_a_change_of_speaker():
    spoken = words((0, 100), (150, 300), (1500, 1700), speaker="S1") + words((1750, 1900), speaker="S2")
    made = speakers.segments(spoken)
    assert [(one.start_ms, one.end_ms, one.speaker) for one in made] == [
        (0, 300, "S1"),
        (1500, 1700, "S1"),
        (1750, 1900, "S2"),
    ]


def test_long_speech_without_pause_is_cut():
    spoken = words(*((at, at + 300) for at in range(0, 60_000, 320)))
    made = speakers.segments(spoken)
    assert all(one.end_ms - one.start_ms <= speakers.MAX_SEGMENT_MS for one in made)
    assert len(made) <= 8


def test_sentence_ends_a_segment_once_it_is_long_enough():
    spoken = [Word("Yes.", 0, 300, 1.0), *words((350, 3400)), Word("end.", 3450, 3800, 1.0), *words((3850, 4000))]
    assert [one.text for one in speakers.segments(spoken)] == ["Yes. word end.", "word"]


def test_words_that_touch_are_joined_without_a_space():
    spoken = [replace(word, has_space_before=False) for word in words((0, 10), (20, 30), text="你")]
    assert speakers.segments(spoken)[0].text == "你你"


def test_nothing_said_gives_no_segment():
    assert speakers.segments([]) == ()
