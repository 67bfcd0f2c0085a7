import re

import pytest

from tests.transcription.speech.formats.transcripts import DIALOGUE, render, said
from transcription.speech.transcript import Segment


def test_srt_is_numbered_and_has_commas():
    assert render("srt", *DIALOGUE) == (
        "1\n00:00:00,000 --> 00:00:01,000\nSpeaker 1: hello there\n\n"
        "2\n01:01:01,500 --> 01:01:02,500\nSpeaker 2: good morning\n"
    )


def test_srt_text_cannot_be_markup_or_a_time_line():
    body = render("srt", said("<i>a --> b"))
    assert body.count("-->") == 1
    assert "<" not in body


def read_by_ffmpeg(path):
    """Return the texts of the cues as libass shows them: what is in braces is a command."""
    import av

    with av.open(str(path)) as container:
        dialogues = [rect.ass for packet in container.demux() if packet.size for rect in packet.decode()]
    return [re.sub(r"\{.*?\}", "", one.decode().split(",", 8)[-1]).replace("\u2060", "") for one in dialogues]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{laughs} hello", "(laughs) hello"),
        ("{y:i} yes", "(y:i) yes"),
        (r"{\an8} up and {C:$FF} red", r"(\an8) up and (C:$FF) red"),
        ("a set {} or { b }", "a set () or ( b )"),
        (r"C:\new\Names\here", r"C:\new\Names\here"),
        ("<b> is < and >", "‹b› is ‹ and ›"),
    ],
)
def test_srt_text_is_no_command_for_ffmpeg(text, shown, tmp_path):
    """mpv, VLC and converters read by FFmpeg: what was said in braces was not shown, and \\N broke the line."""
    path = tmp_path / "made.srt"
    path.write_text(render("srt", said(text), speaker_labels=False))
    assert read_by_ffmpeg(path) == [shown]


def test_text_with_line_breaks_keeps_to_its_cue():
    body = render("srt", Segment(0, 1000, "one\n\n2\n00:00 --> 00:01\ntwo"))
    assert "\n\n" not in body


def test_srt_without_labels_has_no_names():
    assert "Speaker" not in render("srt", *DIALOGUE, speaker_labels=False)


@pytest.mark.parametrize(
    "text", ["שלום לכולם.", "مرحبا بكم؟", "iPhone 15 הוא מכשיר מצוין.", "السعر 3.14 دولار (iPhone)."]
)
def test_srt_lines_from_right_to_left_are_embedded(text):
    """Without it, players show the full stop and the name of the speaker on the wrong side."""
    line = render("srt", said(text)).splitlines()[2]
    assert line == f"\u202bSpeaker 1: {text}\u202c"


def test_srt_text_from_left_to_right_has_no_invisible_characters():
    assert render("srt", *DIALOGUE).isascii()
