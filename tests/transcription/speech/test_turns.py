import pytest

from transcription.speech import speakers, turns
from transcription.speech.transcript import Segment, Transcript, Word


def test_neighbouring_segments_of_one_speaker_are_one_paragraph():
    def segment(start_ms, text, speaker):
        return Segment(start_ms=start_ms, end_ms=start_ms + 500, text=text, speaker=speaker)

    transcript = Transcript(
        language="en",
        language_probability=None,
        duration_ms=3000,
        segments=(
            segment(0, "one", "S1"),
            segment(600, "two", "S1"),
            segment(1200, " ", "S2"),
            segment(1800, "three", "S2"),
        ),
        engine="test",
    )
    found = turns.paragraphs(transcript)
    assert [(turn["name"], turn["text"], turn["position"]) for turn in found] == [
        ("Speaker 1", "one two", 0),
        ("Speaker 2", "three", 1),
    ]


def read(*words):
    segments = speakers.segments(words)
    return turns.paragraphs(Transcript(None, None, duration_ms=9000, segments=segments, engine="test"))


def test_paragraph_has_the_blanks_of_its_words():
    words = [
        Word("我们", 0, 100, 0.5, "S1"),
        Word("用", 4000, 4100, 0.5, "S1", False),
        Word("AI", 8000, 8100, 0.5, "S1"),
    ]
    assert [paragraph["text"] for paragraph in read(*words)] == ["我们用 AI"]


def test_paragraph_tells_its_direction():
    found = read(Word("שלום", 0, 100, 0.5, "S1"), Word("hello", 200, 300, 0.5, "S2"))
    assert [paragraph["direction"] for paragraph in found] == ["rtl", "ltr"]


def spoken(*texts: str, pause_ms: int = 100, speaker: str | None = "S1") -> Transcript:
    """A transcript with a segment of 2 s for each text, and a word for each word."""
    segments, now = [], 0
    for text in texts:
        parts = text.split()
        step = 2000 // len(parts)
        words = tuple(Word(part, now + at * step, now + (at + 1) * step, 0.9, speaker) for at, part in enumerate(parts))
        segments.append(Segment(now, now + step * len(parts), text, words, speaker))
        now += 2000 + pause_ms
    return Transcript("en", None, duration_ms=now, segments=tuple(segments), engine="test")


@pytest.mark.parametrize("speaker", ["S1", None])
def test_monologue_is_paragraphs_of_a_few_sentences(speaker):
    sentence = "This is a sentence of about sixty characters in the monologue."
    found = turns.paragraphs(spoken(*[sentence] * 60, speaker=speaker))
    assert [len(paragraph["lines"]) for paragraph in found] == [5] * 12
    assert [paragraph["is_turn"] for paragraph in found] == [True] + [False] * 11
    assert [paragraph["start_ms"] for paragraph in found[:2]] == [0, 5 * 2100]
    assert [line.number for paragraph in found for line in paragraph["lines"]] == list(range(60))


def test_text_without_ends_of_sentences_is_parted_nevertheless():
    found = turns.paragraphs(spoken(*["and so on and on without a mark or an end to be seen"] * 100))
    assert max(len(paragraph["text"]) for paragraph in found) < turns.MAX_PARAGRAPH_COLUMNS + 60


def test_long_pause_begins_a_paragraph():
    assert len(turns.paragraphs(spoken("one.", "two.", pause_ms=3_999))) == 1
    assert len(turns.paragraphs(spoken("one.", "two.", pause_ms=4_000))) == 2


def test_words_are_placed_in_utf_16_units_with_their_times_and_doubts():
    words = (Word("𝄞-clef", 1000, 1500, 0.9), Word("is", 1600, 1700, 0.123), Word("here", 1700, 2000, 0.5))
    segment = Segment(900, 2000, "𝄞-clef, is here", words)
    assert turns.word_places(segment) == "0,7,100,500 2,2,100,100,12 1,4,0,300"


def test_word_that_is_not_in_the_text_is_left_out():
    words = (Word("ten", 0, 100, 0.9), Word("twenty", 100, 300, 0.9))
    assert turns.word_places(Segment(0, 300, "10 twenty", words)) == "3,6,100,200"


def test_lines_are_not_read_without_a_search():
    paragraphs = [{"lines": [object()]}]
    assert turns.with_found(paragraphs, phrases=[]) == (paragraphs, 0)
