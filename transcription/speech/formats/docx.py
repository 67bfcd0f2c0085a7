"""A document of a word processor, as Office Open XML (ECMA-376): the paragraphs of the page, with speakers and times.

python-docx writes it. It is imported when the first document is written: no other work needs lxml, 10 MB of it.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from transcription.speech import scripts, turns
from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.transcript import Transcript

if TYPE_CHECKING:
    from docx.document import Document

# Line ends and tabs would be elements of their own.
_BLANKS = re.compile("[\t\n\r]+")
# What XML cannot have, not even as a reference, such as NUL or half a surrogate pair (XML 1.0, section 2.2).
_NO_XML = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Properties of a file may be so long in python-docx, as in Word.
_MAX_PROPERTY = 255
# Ids of our paragraph styles: the line with speaker and time, and the text below it.
_WHO, _TEXT = "Speaker", "Speech"
_BLACK, _GREY = "000000", "666666"


def render(transcript: Transcript, *, options: FormatOptions = DEFAULT) -> bytes:
    """Return the bytes of a .docx file. It has the times of paragraphs, unless options.timestamps is False."""
    from docx import Document

    document = Document()
    _describe(document, transcript)
    _define_styles(document)
    lines = [
        _line(transcript.title or "Transcript", style="Title"),
        _line(f"Length {turns.clock(transcript.duration_ms)}", style="Subtitle"),
        *(_line(note, style="Quote") for note in transcript.notes),
    ]
    for one in turns.paragraphs(transcript):
        name = one["name"] if one["is_turn"] and options.speaker_labels else ""
        at = turns.clock(one["start_ms"]) if options.timestamps is not False else ""
        if name or at:
            lines.append(_who_line(name=name, at=at, is_right_to_left=one["direction"] == "rtl"))
        lines.append(_line(one["text"], style=_TEXT))
    _append(document, lines)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _describe(document: Document, transcript: Transcript) -> None:
    """Write the properties of the file, instead of those of python-docx's template, and the language of its text."""
    from docx.oxml.ns import qn

    properties: Any = document.core_properties
    for element in list(properties._element):  # the template's: its author, and that it was made in 2013
        properties._element.remove(element)
    properties.title = _clean(transcript.title)[:_MAX_PROPERTY]
    if language := transcript.written_in:
        properties.language = language
        # What spelling is checked by: one for scripts from left to right, and one for the others.
        for element in document.styles.element.iter(qn("w:lang")):
            element.set(qn("w:val"), language)
            element.set(qn("w:bidi"), language)


def _define_styles(document: Document) -> None:
    """Add our styles, so that whoever edits the file changes all lines of one kind at once."""
    from docx.enum.style import WD_STYLE_TYPE
    from docx.shared import Pt, RGBColor

    styles: Any = document.styles
    who, text = (styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH) for name in (_WHO, _TEXT))
    who.base_style = text.base_style = styles["Normal"]
    who.next_paragraph_style = text
    who.font.size = Pt(10)
    who.paragraph_format.keep_with_next = True
    who.paragraph_format.space_before, who.paragraph_format.space_after = Pt(6), Pt(0)
    text.paragraph_format.space_after = Pt(6)
    for name, colour in (("Title", _BLACK), ("Subtitle", _GREY), ("Quote", _BLACK)):
        styles[name].font.color.rgb = RGBColor.from_string(colour)


def _line(text: str, *, style: str) -> str:
    """Return a paragraph as XML, in the direction of its script."""
    is_right_to_left = scripts.is_right_to_left(text)
    # Word takes font and language of such a script only for what is marked.
    return _paragraph(_run(text, rtl=is_right_to_left), style=style, is_right_to_left=is_right_to_left)


def _who_line(*, name: str, at: str, is_right_to_left: bool) -> str:
    """Return the line that says who speaks, and when, on the side on which the text below it begins."""
    runs = _run(name, bold=True, rtl=scripts.is_right_to_left(name)) if name else ""
    if at:
        runs += _run(f"  {at}" if name else at, color=_GREY)
    return _paragraph(runs, style=_WHO, is_right_to_left=is_right_to_left)


def _paragraph(runs: str, *, style: str, is_right_to_left: bool) -> str:
    bidi = "<w:bidi/>" if is_right_to_left else ""
    return f'<w:p><w:pPr><w:pStyle w:val="{style}"/>{bidi}</w:pPr>{runs}</w:p>'


def _run(text: str, *, bold: bool = False, color: str = "", rtl: bool = False) -> str:
    # In the order of the schema.
    shade = f'<w:color w:val="{color}"/>' if color else ""
    marks = "<w:b/>" * bold + shade + "<w:rtl/>" * rtl
    properties = f"<w:rPr>{marks}</w:rPr>" if marks else ""
    return f'<w:r>{properties}<w:t xml:space="preserve">{escape(_clean(text))}</w:t></w:r>'


def _append(document: Document, lines: list[str]) -> None:
    """Add paragraphs at the end of the text.

    All at once, as XML: python-docx takes 3.7 s to make those of ten hours one by one, and its `add_paragraph` 8.3 s,
    because it looks through all of them for the place.
    """
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls

    made: Any = parse_xml(f"<w:body {nsdecls('w')}>{''.join(lines)}</w:body>")
    body: Any = document.element.body
    # Behind the last paragraph is the page's size.
    body[-1:-1] = list(made)


def _clean(text: str) -> str:
    """Return what of a text can stand in XML, on one line."""
    return _NO_XML.sub("", _BLANKS.sub(" ", text))
