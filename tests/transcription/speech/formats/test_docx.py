"""Documents, read back with the library: whatever people say, the file opens."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import pytest
from docx import Document
from docx.oxml.ns import qn

from tests.transcription.speech.formats.transcripts import DIALOGUE, said, transcript
from transcription.speech import turns
from transcription.speech.formats import docx
from transcription.speech.formats.options import FormatOptions
from transcription.speech.transcript import Segment


def read(*segments, options=None, language="en", **fields):
    made = replace(transcript(*segments, language=language), **{"title": "talk.mp3", **fields})
    return Document(io.BytesIO(docx.render(made, options=options or FormatOptions())))


def texts(document):
    return [(one.style.name, one.text) for one in document.paragraphs]


def is_right_to_left(paragraph):
    return paragraph._p.pPr.find(qn("w:bidi")) is not None


def test_document_has_title_length_notes_and_turns():
    document = read(*DIALOGUE, notes=("Heard on one channel.",))
    assert texts(document) == [
        ("Title", "talk.mp3"),
        ("Subtitle", "Length 1:01"),
        ("Quote", "Heard on one channel."),
        ("Speaker", "Speaker 1  0:00"),
        ("Speech", "hello there"),
        ("Speaker", "Speaker 2  1:01:01"),
        ("Speech", "good morning"),
    ]
    assert document.core_properties.title == "talk.mp3"
    assert document.core_properties.author == ""
    assert document.core_properties.language == "en"


def test_paragraphs_are_those_of_the_page():
    segments = [said(f"This is sentence number {number}.", start_ms=number * 9_000) for number in range(30)]
    document = read(*segments)
    shown = turns.paragraphs(transcript(*segments))
    assert len(shown) > 3
    assert [one.text for one in document.paragraphs if one.style.name == "Speech"] == [one["text"] for one in shown]
    lines = [one.text for one in document.paragraphs if one.style.name == "Speaker"]
    # The name stands where a turn begins, the time at each paragraph.
    assert lines[0] == "Speaker 1  0:00"
    assert lines[1:] == [turns.clock(one["start_ms"]) for one in shown[1:]]


def test_names_and_times_are_left_out_on_request():
    assert texts(read(*DIALOGUE, options=FormatOptions(speaker_labels=False, timestamps=False)))[2:] == [
        ("Speech", "hello there"),
        ("Speech", "good morning"),
    ]
    assert texts(read(*DIALOGUE, options=FormatOptions(speaker_labels=False)))[2:4] == [
        ("Speaker", "0:00"),
        ("Speech", "hello there"),
    ]
    assert texts(read(*DIALOGUE, options=FormatOptions(timestamps=False)))[2] == ("Speaker", "Speaker 1")


def test_empty_transcript_is_a_document():
    assert texts(read(title="", language=None)) == [("Title", "Transcript"), ("Subtitle", "Length 1:01")]


@pytest.mark.parametrize("text", ["שלום לכולם", "مرحبا بالجميع"])
def test_right_to_left_is_marked_in_paragraph_and_run(text):
    document = read(said(text), said("hello", start_ms=9_000, speaker="S2"), title=text, language="he")
    title, _, who, speech, other_who, other = document.paragraphs
    assert [is_right_to_left(one) for one in (title, who, speech)] == [True] * 3
    assert [is_right_to_left(one) for one in (other_who, other)] == [False] * 2
    assert speech.runs[0].font.rtl
    # A Latin name in a line that begins at the right.
    assert [run.font.rtl for run in who.runs] == [None, None]
    # The order of the schema: Word refuses another one.
    assert [child.tag for child in speech._p.pPr] == [qn("w:pStyle"), qn("w:bidi")]


HOSTILE = [
    ("a\x00b\x0bc\x1f\x7f", "abc\x7f"),
    ("half \ud83d of \ude00 a pair", "half  of  a pair"),
    ("]]> <w:p/> </w:t> &amp; &#0; <!DOCTYPE x [<!ENTITY", "]]> <w:p/> </w:t> &amp; &#0; <!DOCTYPE x [<!ENTITY"),
    ("one\r\ntwo\tthree", "one two three"),
    ("\ufffe\uffff\U0001f600", "\U0001f600"),
    ("Vraiment\u00a0? \u3000", "Vraiment\u00a0? \u3000"),
]


@pytest.mark.long
@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_no_text_breaks_the_document(text, shown):
    """Text, name of a speaker, note and title alike."""
    document = read(
        Segment(0, 1_000, text, (), "S1"),
        title=text,
        notes=(text,),
        speaker_names=(("S1", text),),
    )
    title, _, note, who, speech = [one.text for one in document.paragraphs]
    assert (title, note, who, speech) == (shown, shown, f"{shown}  0:00", shown.strip())
    assert document.core_properties.title == shown


def test_long_title_fits_the_properties_of_the_file():
    assert read(title="x" * 300).core_properties.title == "x" * 255


def test_file_is_a_package_without_links_to_elsewhere():
    archive = zipfile.ZipFile(io.BytesIO(docx.render(transcript(*DIALOGUE))))
    assert archive.testzip() is None
    relations = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".rels"))
    assert b"External" not in relations
