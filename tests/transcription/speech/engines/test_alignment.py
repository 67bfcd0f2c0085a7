from __future__ import annotations

from transcription.speech.engines import alignment


def test_words_of_the_alignment_are_whole():
    units = [" d", "'avoir", ",", " puis", "-je", " 3", ".14", " 10", ":30", " john", "@example", ".com"]
    aligned = [
        {"word": unit, "tokens": [1], "start": at / 10, "end": (at + 1) / 10, "probability": 0.5}
        for at, unit in enumerate(units)
    ]
    words = alignment.repaired_words(aligned, duration_ms=1_200)
    assert [word.text for word in words] == ["d'avoir,", "puis-je", "3.14", "10:30", "john@example.com"]
    assert [(word.start_ms, word.end_ms) for word in words] == [
        (0, 200),
        (300, 500),
        (500, 700),
        (700, 900),
        (900, 1200),
    ]
