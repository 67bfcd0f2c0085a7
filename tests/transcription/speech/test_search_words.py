"""Words of texts and queries, and where a query's words stand in a text."""

import pytest

from transcription.speech.search_words import normalized, phrases_of, places, readable


def found(texts, *phrases):
    """Return each place as the texts that it has."""
    return [[texts[part.text][part.first : part.end] for part in place] for place in places(texts, phrases)]


@pytest.mark.parametrize(
    ("query", "phrases"),
    [
        ("late invoice", ["late", "invoice"]),
        ('"late invoice" march', ["late invoice", "march"]),
        ('"late', ["late"]),
        ("… -", []),
        ("", []),
    ],
)
def test_query_is_words_and_phrases(query, phrases):
    assert phrases_of(query) == phrases


def test_words_are_found_where_they_stand_as_they_are_written():
    text = "Good morning, Mrs. O'Brien: it costs 3.50 — GOOD!"
    assert found([text], "good") == [["Good"], ["GOOD"]]
    assert found([text], "o'brien", "3.50") == [["O'Brien"], ["3.50"]]
    assert found([text], "good morning mrs") == [["Good morning, Mrs"]]
    assert found([text], "morn", "morning good") == []


def test_phrase_goes_on_in_the_next_text():
    assert found(["Send the", "invoice.", "Now"], "the invoice now") == [["the", "invoice", "Now"]]


def test_all_that_search_finds_has_a_place():
    texts = ["今天我们去 OK", "Straße ﬁne cafe\u0301 ½", "हिन्दी में", "I said İstanbul"]
    for phrase in ("我们", "ok", "STRASSE", "fine", "CAFÉ", "हिन्दी", "i said"):
        has_words = f" {normalized(phrase)} " in f" {normalized(' '.join(texts))} "
        assert bool(places(texts, [phrase])) == has_words, phrase


def test_no_text_and_no_phrase_have_no_places():
    assert places([], ["word"]) == places(["word"], []) == places(["word"], ["…"]) == []


def test_texts_are_not_read_without_words_to_find():
    unreadable = [object()]
    assert places(unreadable, []) == places(unreadable, ["…"]) == []


def test_phrases_that_begin_alike_are_found_in_the_order_of_their_places():
    assert found(["late invoice, late"], "late", "late invoice", "invoice") == [
        ["late"],
        ["late invoice"],
        ["invoice"],
        ["late"],
    ]


def test_words_without_blanks_are_read_without_them():
    assert readable("今 天 ok we go 去") == "今天 ok we go 去"
