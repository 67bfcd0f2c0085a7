from tests.transcription.speech.formats.transcripts import DIALOGUE, render, said
from transcription.speech.formats import vtt
from transcription.speech.transcript import Segment, Transcript, Word


def test_vtt_has_voices_and_dots():
    assert render("vtt", *DIALOGUE) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n<v Speaker 1>hello there\n\n"
        "01:01:01.500 --> 01:01:02.500\n<v Speaker 2>good morning\n"
    )


def test_vtt_text_cannot_be_markup():
    body = render("vtt", said("a<b> & c --> d", speaker="S<1>&"))
    assert "<v S&lt;1&gt;&amp;>a&lt;b&gt; &amp; c --&gt; d" in body


def test_vtt_without_labels_has_no_voices():
    assert "<v" not in render("vtt", *DIALOGUE, speaker_labels=False)


def test_vtt_lines_from_right_to_left_begin_with_a_mark():
    assert "<v Speaker 1>\u200fiPhone הוא מכשיר מצוין\n" in render("vtt", said("iPhone הוא מכשיר מצוין"))


def test_each_word_may_be_a_cue_of_its_own():
    words = (Word("<b>", 0, 0, 1.0, "S1"), Word("there", 400, 700, 1.0, "S1"))
    transcript = Transcript(
        language="en",
        language_probability=None,
        duration_ms=1_000,
        segments=(Segment(0, 700, "<b> there", words, "S1"),),
        engine="x",
    )
    assert vtt.render_words(transcript).decode() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.001\n&lt;b&gt;\n\n00:00:00.400 --> 00:00:00.700\nthere\n"
    )
