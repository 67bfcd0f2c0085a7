from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures.encoding import tone
from transcription.speech import hearing


def test_facts_survive_the_way_out_of_the_child():
    facts = [hearing.Fact("stopped", at_ms=61_000), hearing.Fact("tracks_left_out", count=2)]
    assert hearing.from_answer([fact.to_dict() for fact in facts]) == facts


@pytest.mark.parametrize(
    "lie",
    [
        None,
        "stopped",
        [7],
        [{"kind": "Buy at evil.example"}],
        [{"kind": "stopped", "at_ms": "soon"}],
        [{"kind": "stopped", "at_ms": -1}],
        [{"kind": "stopped", "at_ms": True}],
        [{"kind": "stopped", "count": 10**30}],
        [{"kind": "stopped", "text": "x"}],
        [{"at_ms": 1}],
    ],
)
def test_compromised_child_writes_nothing_into_a_transcript(lie):
    with pytest.raises(ValueError, match="fact"):
        hearing.from_answer(lie)


def test_facts_do_not_fill_the_notes():
    answer = [hearing.Fact("gap", at_ms=number).to_dict() for number in range(5_000)]
    assert len(hearing.from_answer(answer)) == hearing.MAX_FACTS


def test_sentences_name_times_and_numbers():
    facts = [
        hearing.Fact("gap", at_ms=60_000, end_ms=3_661_000),
        hearing.Fact("tracks_left_out", count=1),
        hearing.Fact("tracks_unreadable", count=2),
    ]
    gap, left_out, unreadable = hearing.sentences(facts)
    assert gap == "The file has no sound from 0:01:00 to 1:01:01."
    assert left_out.startswith("The file has 1 more audio track in another language")
    assert unreadable == "The file has 2 more audio tracks that we cannot read."


def test_each_fact_is_told_once():
    assert len(hearing.sentences([hearing.Fact("stopped", at_ms=1)] * 8)) == 1


def wordless(*parts, words=()):
    """Return (start, end) in seconds of loud stretches without words. parts: (seconds, level)."""
    loudness = hearing.Loudness()
    sound = np.hstack([tone(seconds, level=level)[0] for seconds, level in parts])
    for at in range(0, len(sound), 480_000):
        loudness.add(sound[at : at + 480_000])
    return [(fact.at_ms // 1000, fact.end_ms // 1000) for fact in loudness.wordless(words)]


def test_loud_sound_without_words_is_named():
    assert wordless((100, 0.3)) == [(0, 100)]
    assert wordless((60, 0.0), (40, 0.3), (60, 0.0)) == [(60, 100)]
    assert wordless((100, 0.3), words=[(10_000, 11_000), (90_000, 99_500)]) == [(11, 90)]


def test_silence_and_speech_are_not_named():
    assert wordless((100, 0.001)) == []
    assert wordless((29, 0.3)) == []
    assert wordless((100, 0.3), words=[(at * 1000, at * 1000 + 500) for at in range(0, 100, 25)]) == []
    assert wordless(*[(2, 0.3), (8, 0.0)] * 10) == []


def few_words(*parts, words=()):
    """Return (seconds with words, loud seconds), None if it is not told. parts: (seconds, level)."""
    loudness = hearing.Loudness()
    loudness.add(np.hstack([tone(seconds, level=level)[0] for seconds, level in parts]))
    found = loudness.few_words(words)
    return (found[0].at_ms // 1000, found[0].end_ms // 1000) if found else None


def test_recording_of_which_little_became_words_is_told():
    assert few_words((20, 0.3)) == (0, 20)
    assert few_words((10, 0.3), (30, 0.0), (10, 0.3), words=[(0, 900), (45_000, 46_500)]) == (3, 20)
    # Five words in 25 s of people who speak.
    assert few_words((25, 0.3), words=[(at * 5_000, at * 5_000 + 300) for at in range(5)]) == (5, 25)


@pytest.mark.long
def test_recording_of_which_half_became_words_is_not_told():
    assert few_words((20, 0.3), words=[(0, 9_900)]) is None
    assert few_words((4, 0.3)) is None  # a door, a phone
    assert few_words((60, 0.001)) is None
    assert few_words((20, 0.3), (300, 0.001), words=[(at * 1000, at * 1000 + 400) for at in range(20)]) is None


def spoken(text, *, every_ms=400, late_ms=0):
    return [(number * every_ms + late_ms, word) for number, word in enumerate(text.split())]


TALK = "So, that was the last point of today. Is there anything else that you would like to say about the new office?"


def test_channel_with_the_words_of_another_at_the_same_time_is_told():
    far = spoken(TALK.lower().replace(",", "").replace("office", "orifice"), late_ms=300)
    assert hearing.repeated_channels([spoken(TALK), far]) == [hearing.Fact("repeated_channel", count=2)]
    assert hearing.repeated_channels([[], spoken(TALK), spoken("yes"), far]) == [
        hearing.Fact("repeated_channel", count=4)
    ]


@pytest.mark.parametrize(
    "other",
    [
        spoken(TALK, late_ms=60_000),  # said again later
        spoken("yes yes okay that was"),  # too little to say
        spoken("no I think that we have said all of it and I would like to go home now because it is late today"),
        [],
    ],
)
def test_channel_with_words_of_its_own_is_not(other):
    assert hearing.repeated_channels([spoken(TALK), other]) == []
