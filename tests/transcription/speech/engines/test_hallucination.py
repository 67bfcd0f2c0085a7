from __future__ import annotations

import pytest

from transcription.speech.engines import hallucination
from transcription.speech.transcript import Word


def words(text):
    return tuple(Word(one, 10 * at, 10 * at + 9, 0.5) for at, one in enumerate(text.split()))


@pytest.mark.parametrize(
    "text",
    ["", "no no no no", "zero zero zero zero seven", "very very good", "one two three one two three one two three"],
)
def test_what_people_say_is_no_loop(text):
    assert hallucination.loop(text.split()) is None
    assert hallucination.without_loops(words(text)) == words(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("well " + "Thank you. " * 9 + "bye", "well Thank you. Thank you. bye"),
        ("so " * 30, "so so"),
        ("a b c " * 6, "a b c a b c"),
        ("so " * 10 + "x " + "go on " * 8, "so so x go on go on"),
    ],
)
def test_loops_are_cut_to_two_turns(text, left):
    assert " ".join(word.text for word in hallucination.without_loops(words(text))) == left


@pytest.mark.parametrize("text", ["no " * 10, "one, " * 8, "yes " * 12, "hip hip hooray " * 6])
def test_repetition_that_can_be_said_in_its_time_is_not_too_fast(text):
    assert hallucination.is_repetitive(text)
    assert not hallucination.is_too_fast(text, duration_ms=300 * len(text.split()))


@pytest.mark.parametrize(
    ("text", "duration_ms", "is_too_fast"),
    [
        ("thank you " * 40, 3_000, True),
        ("Plot" * 224, 3_200, True),
        ("谢谢" * 40, 3_000, True),
        ("对" * 12, 2_400, False),
        ("she sells sea shells on the sea shore " * 3, 7_000, False),
    ],
)
def test_nobody_speaks_so_fast(text, duration_ms, is_too_fast):
    assert hallucination.is_too_fast(text, duration_ms=duration_ms) is is_too_fast


def test_loop_that_has_no_sound_of_its_own_is_collapsed():
    """Whisper base, " Thank you." twenty times over 30 s of a meeting: 80 % of the words have no time."""
    assert hallucination.is_collapsed([Word("you", 0, 10_000, 0.9), *[Word("thank", 10_000, 10_000, 0.9)] * 9])
    assert not hallucination.is_collapsed([Word("no", at * 300, at * 300 + 260, 0.9) for at in range(10)])
    # One word is long, because a pause follows it; all others have their time.
    assert not hallucination.is_collapsed([Word("no", 0, 5_000, 0.9), Word("no", 5_000, 5_300, 0.9)])
    assert not hallucination.is_collapsed([])


@pytest.mark.parametrize(
    ("text", "left"), [("N-" * 100, "N-N-"), ("Plot" * 224, "PlotPlot"), ("haha", "haha"), ("hahahaha!", "hahahaha!")]
)
def test_loops_inside_a_word_are_cut(text, left):
    assert [word.text for word in hallucination.without_loops(words(text))] == [left]


def test_silence_needs_both_figures():
    assert hallucination.is_silence(no_speech=0.9, mean_log_probability=-1.5)
    assert not hallucination.is_silence(no_speech=0.9, mean_log_probability=-0.5)
    assert not hallucination.is_silence(no_speech=0.1, mean_log_probability=-1.5)
