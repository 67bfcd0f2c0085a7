"""Corrections: which words keep their times, who speaks, and what stays of the original."""

import pytest

from transcription.speech import correcting
from transcription.speech.correcting import Corrections, Revision, corrected, retimed, without_empty
from transcription.speech.transcript import Segment, Transcript, Word, join_words


def segment(*texts: str, start_ms: int = 1000, speaker: str | None = "S1", blanks: bool = True) -> Segment:
    """A segment whose words last 300 ms each, 100 ms apart."""
    words = tuple(
        Word(text, start_ms + at * 400, start_ms + at * 400 + 300, 0.4, speaker, has_space_before=blanks or at == 0)
        for at, text in enumerate(texts)
    )
    return Segment(start_ms, words[-1].end_ms, join_words(words), words, speaker)


def times(words):
    return [(word.text, word.start_ms, word.end_ms) for word in words]


SAID = segment("we", "meat", "on", "monday")


def test_words_that_stay_keep_their_times_and_probabilities():
    words = retimed(SAID, "we meet on Monday")
    assert times(words) == [("we", 1000, 1300), ("meet", 1400, 1700), ("on", 1800, 2100), ("Monday", 2200, 2500)]
    assert [word.probability for word in words] == [0.4, 1.0, 0.4, 1.0]


def test_words_with_other_case_and_marks_are_the_same_words():
    words = retimed(SAID, "On Monday, we meat, on Monday.")
    assert times(words)[2:] == [("we", 1000, 1300), ("meat,", 1400, 1700), ("on", 1800, 2100), ("Monday.", 2200, 2500)]


def test_new_words_share_the_time_of_those_that_they_replace():
    assert times(retimed(SAID, "we shall meet us on monday"))[:4] == [
        ("we", 1000, 1300),
        ("shall", 1400, 1536),
        ("meet", 1536, 1645),
        ("us", 1645, 1700),
    ]


def test_inserted_words_have_the_pause_where_they_stand():
    assert times(retimed(SAID, "so we meat on monday then")) == [
        ("so", 1000, 1000),
        ("we", 1000, 1300),
        ("meat", 1400, 1700),
        ("on", 1800, 2100),
        ("monday", 2200, 2500),
        ("then", 2500, 2500),
    ]
    assert times(retimed(SAID, "we meat up on monday"))[2] == ("up", 1700, 1800)


def test_words_are_in_order_and_inside_the_segment_whatever_is_written():
    for text in ("", "x", "monday on meat we", "on on on", "we meat on monday we meat on monday", "a " * 300):
        words = retimed(SAID, text)
        ends = [SAID.start_ms, *(moment for word in words for moment in (word.start_ms, word.end_ms)), SAID.end_ms]
        assert ends == sorted(ends)
        assert join_words(words) == " ".join(text.split())


def test_segment_without_word_times_gets_none():
    assert retimed(Segment(0, 900, "hello"), "hallo") == ()


@pytest.mark.parametrize(
    ("said", "written", "kept"),
    [
        (("我", "们", "去", "北", "京"), "我们去南京。", {"我", "们", "去"}),
        (("สวัสดี", "ครับ", "ผม"), "สวัสดีค่ะผม", {"สวัสดี", "ผม"}),
        (("今日", "は", "AI", "です"), "今日はAIでした", {"今日", "は", "AI"}),
    ],
)
def test_scripts_without_blanks_keep_words_too(said, written, kept):
    original = segment(*said, blanks=False)
    words = retimed(original, written)
    assert "".join(word.text for word in words) == written
    before = {word.text: word for word in original.words}
    assert {word.text for word in words if word == before.get(word.text)} >= kept
    assert not any(word.has_space_before for word in words[1:])


@pytest.mark.parametrize(("language", "text"), [("zh", "我们去南京。"), ("th", "สวัสดีค่ะ"), ("ja", "今日はいい天気。")])
def test_correction_in_a_script_without_blanks_puts_none_before_its_sentence(language, text):
    def said(word: str, *, start_ms: int) -> Segment:
        return Segment(start_ms, start_ms + 900, word, (Word(word, start_ms, start_ms + 900, 0.4, "S1", False),), "S1")

    before = text[:2]
    transcript = Transcript(language, None, 2000, (said(before, start_ms=0), said(text[:3], start_ms=1000)), "test")
    assert corrected(transcript, Corrections(revisions={1: Revision(1, text, "S1")})).text == before + text


def test_too_many_words_to_compare_share_the_time_of_the_segment(monkeypatch):
    compared = []
    matcher = correcting.SequenceMatcher
    monkeypatch.setattr(correcting, "SequenceMatcher", lambda *a, **k: compared.append(1) or matcher(*a, **k))
    long = segment(*["on"] * 400)
    words = retimed(long, "on " * 400 + "x")
    assert compared == []
    ends = [long.start_ms, *(moment for word in words for moment in (word.start_ms, word.end_ms)), long.end_ms]
    assert ends == sorted(ends)
    assert join_words(words) == "on " * 400 + "x"


TRANSCRIPT = Transcript(
    "en",
    None,
    9000,
    (segment("hello"), segment("hi", start_ms=3000, speaker="S2"), segment("bye", start_ms=5000)),
    "test",
)


def test_transcript_has_the_last_revisions_and_names():
    corrections = Corrections(revisions={1: Revision(2, "hi there", "S2")}, names={"S1": "Anna"})
    found = corrected(TRANSCRIPT, corrections)
    assert [one.text for one in found.segments] == ["hello", "hi there", "bye"]
    assert [found.label_of(speaker) for speaker, _ in found.speakers] == ["Anna", "Speaker 2"]
    assert TRANSCRIPT.segments[1].text == "hi"


def test_merged_speaker_speaks_as_the_other_and_so_do_the_words():
    found = corrected(TRANSCRIPT, Corrections(merged={"S2": "S1"}))
    assert {one.speaker for one in found.segments} == {"S1"}
    assert {word.speaker for word in found.words} == {"S1"}


def test_merges_follow_each_other_and_a_ring_of_them_ends():
    assert Corrections(merged={"S3": "S2", "S2": "S1"}).speaker_of("S3") == "S1"
    assert Corrections(merged={"S1": "S2", "S2": "S1"}).speaker_of("S1") in ("S1", "S2")
    assert Corrections().speaker_of(None) is None


def test_moved_segment_has_its_new_speaker():
    found = corrected(TRANSCRIPT, Corrections(revisions={2: Revision(1, "bye", "S3")}))
    assert [one.speaker for one in found.segments] == ["S1", "S2", "S3"]
    assert found.segments[2].words[0].speaker == "S3"


def test_emptied_segment_keeps_its_place_until_it_is_left_out():
    found = corrected(TRANSCRIPT, Corrections(revisions={0: Revision(1, "", "S1")}))
    assert [one.text for one in found.segments] == ["", "hi", "bye"]
    assert [one.text for one in without_empty(found).segments] == ["hi", "bye"]
    assert found.text == "hi bye"
