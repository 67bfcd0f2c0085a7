from transcription import turns
from transcription.speech.transcript import Segment, Transcript


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
