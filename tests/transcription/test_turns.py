from transcription import turns
from transcription.speech import speakers
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
