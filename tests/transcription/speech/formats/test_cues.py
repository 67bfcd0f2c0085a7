from hypothesis import given
from hypothesis import strategies as st

from tests.transcription.speech.formats.transcripts import said, transcript
from transcription.speech import speakers
from transcription.speech.formats import cues
from transcription.speech.transcript import Word


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=60), min_size=1))
def test_cues_are_readable_and_complete(texts):
    words = [Word(text, number * 400, number * 400 + 350, 0.5, "S1") for number, text in enumerate(texts)]
    spoken = transcript(*speakers.segments(words))
    made = cues.cues(spoken)
    assert "".join("".join(cue.lines) for cue in made).replace(" ", "") == "".join("".join(texts).split())
    for cue in made:
        assert cue.end_ms - cue.start_ms <= cues.MAX_CUE_MS
        assert all(len(line) <= cues.LINE_CHARACTERS for line in cue.lines)
        assert len(cue.lines) <= cues.LINES


def test_long_sentence_is_cut_into_even_cues():
    text = "we will meet on friday morning to talk about the new house by the river and the people who live there"
    made = cues.cues(transcript(said(text)))
    assert len(made) == 2
    assert min(len(" ".join(cue.lines)) for cue in made) > 30
