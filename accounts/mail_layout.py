"""The look of all mails: an HTML version beside the plain text, which is written once and stays the source.

A paragraph of two lines, a text with a colon and an address of this site below it, becomes a button. Nothing else of
the text is understood: names that people chose stay text, and only addresses of this site become links.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.template.loader import render_to_string

_PARAGRAPHS = re.compile(r"\n[ \t]*\n+")
_ADDRESS = re.compile(r"https?://[^\s<>\"“”]+[^\s<>\"“”.,;:!?)]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line. url: where it leads; "" for text."""

    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph: a button, or lines of pieces, which are the points of a list if `is_list`."""

    lines: Sequence[Sequence[Piece]] = ()
    is_list: bool = False
    button: Piece | None = None


def with_html(message: EmailMessage) -> EmailMessage:
    """Return the message with an HTML version beside its text, or the message itself if it has HTML or no text."""
    has_html = message.content_subtype != "plain" or bool(getattr(message, "alternatives", ()))
    if has_html or not message.body:
        return message
    both = EmailMultiAlternatives(
        message.subject,
        message.body,
        message.from_email,
        message.to,
        bcc=message.bcc,
        attachments=message.attachments,
        headers=message.extra_headers,
        cc=message.cc,
        reply_to=message.reply_to,
    )
    both.attach_alternative(html_of(str(message.body), subject=str(message.subject)), "text/html")
    return both


def html_of(text: str, *, subject: str) -> str:
    """Return the HTML version of a plain text."""
    return render_to_string("mail.html", {"subject": subject, "paragraphs": paragraphs_of(text)})


def paragraphs_of(text: str) -> list[Paragraph]:
    """Return the paragraphs of a plain text. Blank lines divide them."""
    return [_paragraph(part.splitlines()) for part in _PARAGRAPHS.split(text.strip()) if part.strip()]


def _paragraph(lines: Sequence[str]) -> Paragraph:
    if len(lines) == 2 and lines[0].endswith(":") and _is_ours(lines[1]):
        return Paragraph(button=Piece(lines[0].removesuffix(":"), lines[1]))
    if all(line.startswith("- ") for line in lines):
        return Paragraph([_pieces(line.removeprefix("- ")) for line in lines], is_list=True)
    return Paragraph([_pieces(line) for line in lines])


def _pieces(line: str) -> list[Piece]:
    pieces, end = [], 0
    for found in _ADDRESS.finditer(line):
        if _is_ours(found.group()):
            pieces += [Piece(line[end : found.start()]), Piece(found.group(), found.group())]
            end = found.end()
    return [piece for piece in (*pieces, Piece(line[end:])) if piece.text]


def _is_ours(url: str) -> bool:
    site: str = settings.SITE_URL
    return url == site or (url.startswith(f"{site}/") and _ADDRESS.fullmatch(url) is not None)
