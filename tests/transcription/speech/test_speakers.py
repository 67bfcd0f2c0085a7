from __future__ import annotations

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


def test_without_turns_nobody_is_named():
    assert named(speakers.assign(words((0, 100)), [])) == [None]


times = st.lists(st.integers(0, 60_000), min_size=2, max_size=40, unique=True).map(sorted)


@given(times, times, st.lists(st.sampled_from(["S1", "S2", "S3"]), min_size=40, max_size=40))
def test_no_word_is_lost_or_left_without_speaker(word_edges, turn_edges, names):
    spoken = words(*zip(word_edges[::2], word_edges[1::2], strict=False))
    pairs = zip(turn_edges[::2], turn_edges[1::2], strict=False)
    turns = [Turn(start, end, name) for (start, end), name in zip(pairs, names, strict=False)]
    found = speakers.assign(spoken, turns)
    assert [(word.start_ms, word.end_ms) for word in found] == [(word.start_ms, word.end_ms) for word in spoken]
    assert None not in named(found)
    made = speakers.segments(found, language="en")
    assert [word for segment in made for word in segment.words] == found
    assert all(len({word.speaker for word in segment.words}) == 1 for segment in made)


def test_segment_ends_at_a_pause_and_at_a_change_of_speaker():
    spoken = words((0, 100), (150, 300), (1500, 1700), speaker="S1") + words((1750, 1900), speaker="S2")
    made = speakers.segments(spoken, language="en")
    assert [(one.start_ms, one.end_ms, one.speaker) for one in made] == [
        (0, 300, "S1"),
        (1500, 1700, "S1"),
        (1750, 1900, "S2"),
    ]


def test_long_speech_without_pause_is_cut():
    spoken = words(*((at, at + 300) for at in range(0, 60_000, 320)))
    made = speakers.segments(spoken, language="en")
    assert all(one.end_ms - one.start_ms <= speakers.MAX_SEGMENT_MS for one in made)
    assert len(made) <= 8


def test_sentence_ends_a_segment_once_it_is_long_enough():
    spoken = [Word("Yes.", 0, 300, 1.0), *words((350, 3400)), Word("end.", 3450, 3800, 1.0), *words((3850, 4000))]
    assert [one.text for one in speakers.segments(spoken, language="en")] == ["Yes. word end.", "word"]


def test_languages_without_spaces_are_joined_without():
    assert speakers.segments(words((0, 10), (20, 30), text="你"), language="zh")[0].text == "你你"


def test_nothing_said_gives_no_segment():
    assert speakers.segments([], language=None) == ()
