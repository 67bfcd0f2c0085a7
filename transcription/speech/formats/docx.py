"""A document of a word processor, as Office Open XML (ECMA-376): the paragraphs of the page, with speakers and times.

python-docx writes it. It is imported when the first document is written: no other work needs lxml, 10 MB of it.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from transcription.speech import scripts, turns
from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.transcript import Transcript

if TYPE_CHECKING:
    from docx.document import Document
    from docx.text.paragraph import Paragraph

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
    _add(document, style="Title", text=transcript.title or "Transcript")
    _add(document, style="Subtitle", text=f"Length {turns.clock(transcript.duration_ms)}")
    for note in transcript.notes:
        _add(document, style="Quote", text=note)
    for one in turns.paragraphs(transcript):
        name = one["name"] if one["is_turn"] and options.speaker_labels else ""
        at = turns.clock(one["start_ms"]) if options.timestamps is not False else ""
        if name or at:
            _add_who(document, name=name, at=at, is_right_to_left=one["direction"] == "rtl")
        _add(document, style=_TEXT, text=one["text"])
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


def _add(document: Document, *, style: str, text: str) -> None:
    """Add a paragraph, in the direction of its script."""
    is_right_to_left = scripts.is_right_to_left(text)
    run = _paragraph(document, style=style, is_right_to_left=is_right_to_left).add_run(_clean(text))
    if is_right_to_left:
        # Word takes font and language of such a script only for what is marked.
        run.font.rtl = True


def _add_who(document: Document, *, name: str, at: str, is_right_to_left: bool) -> None:
    """Add the line that says who speaks, and when, on the side on which the text below it begins."""
    from docx.shared import RGBColor

    paragraph = _paragraph(document, style=_WHO, is_right_to_left=is_right_to_left)
    if name:
        run = paragraph.add_run(_clean(name))
        run.bold = True
        run.font.rtl = scripts.is_right_to_left(name) or None
    if at:
        paragraph.add_run(f"  {at}" if name else at).font.color.rgb = RGBColor.from_string(_GREY)


def _paragraph(document: Document, *, style: str, is_right_to_left: bool) -> Paragraph:
    """Return a new last paragraph.

    Not by `add_paragraph`, which looks through all paragraphs for the place: 8.3 s against 3.7 for ten hours of speech,
    on a busy machine.
    """
    from docx.oxml import OxmlElement
    from docx.text.paragraph import Paragraph

    element: Any = OxmlElement("w:p")
    document.element.body[-1].addprevious(element)  # behind the last paragraph is the page's size
    element.style = style
    if is_right_to_left:
        # The style is the only property that the schema has before this one.
        element.pPr.append(OxmlElement("w:bidi"))
    return Paragraph(element, document._body)


def _clean(text: str) -> str:
    """Return what of a text can stand in XML, on one line."""
    return _NO_XML.sub("", _BLANKS.sub(" ", text))
