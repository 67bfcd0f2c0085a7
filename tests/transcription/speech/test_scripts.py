# ruff: noqa: RUF001 - letters and marks of other scripts look like Latin ones
from __future__ import annotations

import pytest

from transcription.speech import scripts


@pytest.mark.parametrize(
    ("before", "after", "needs"),
    [
        ("早上好", "今天", False),
        ("早上好。", "“今天", False),
        ("好吗?", "今天", False),
        ("はい", "そうです", False),
        ("早上好", "Good", True),
        ("morning.", "早上好", True),
        ("安녕", "하세요", True),
        ("สวัสดี", "ครับ", True),
        ("2015", "年", True),
        ("。", "今天", False),
        ("hello", "there", True),
    ],
)
def test_blank_is_needed_unless_both_sides_are_east_asian(before, after, needs):
    assert scripts.needs_blank(before, after) is needs


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("我们", 4),
        ("한국", 4),
        ("ｱｲ", 2),
        ("ＡＢ", 4),
        ("e\u0301", 1),
        ("กำ", 2),
        ("שלום", 4),
        ("\u200f", 0),
    ],
)
def test_width_is_counted_in_columns(text, width):
    assert scripts.columns(text) == width


@pytest.mark.parametrize(
    ("text", "is_right_to_left"),
    [
        ("שלום", True),
        ("مرحبا بكم", True),
        ("iPhone הוא מכשיר מצוין", True),
        ("hello שלום there", False),
        ("123", False),
    ],
)
def test_direction_is_that_of_most_letters(text, is_right_to_left):
    assert scripts.is_right_to_left(text) is is_right_to_left


@pytest.mark.parametrize(
    ("before", "after", "is_inside"),
    [("ช", "้", True), ("ใ", "น", True), ("ง", "า", True), ("e", "\u0301", True), ("ง", "น", False), ("a", "b", False)],
)
def test_vowels_and_accents_stay_with_their_letter(before, after, is_inside):
    assert scripts.is_inside_syllable(before, after) is is_inside


@pytest.mark.parametrize("text", ["Yes.", "好。", "لماذا؟", "ہاں۔", "हाँ।", "རེད།"])
def test_sentences_of_other_scripts_have_ends_too(text):
    assert text.endswith(scripts.SENTENCE_ENDS)
