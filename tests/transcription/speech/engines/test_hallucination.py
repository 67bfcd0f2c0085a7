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


def test_silence_needs_both_figures():
    assert hallucination.is_silence(no_speech=0.9, mean_log_probability=-1.5)
    assert not hallucination.is_silence(no_speech=0.9, mean_log_probability=-0.5)
    assert not hallucination.is_silence(no_speech=0.1, mean_log_probability=-1.5)
