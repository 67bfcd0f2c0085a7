from tests.transcription.speech.formats.transcripts import DIALOGUE, render, said


def test_vtt_has_voices_and_dots():
    assert render("vtt", *DIALOGUE) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.580\n<v Speaker 1>hello there\n\n"
        "01:01:01.500 --> 01:01:02.080\n<v Speaker 2>good morning\n"
    )


def test_vtt_text_cannot_be_markup():
    body = render("vtt", said("a<b> & c --> d", speaker="S<1>&"))
    assert "<v S&lt;1&gt;&amp;>a&lt;b&gt; &amp; c --&gt; d" in body
