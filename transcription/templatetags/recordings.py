"""How recordings look to people: positions, lengths, languages and speakers. Decides nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import template
from django.conf.locale import LANG_INFO
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from transcription.speech import search_words, turns

register = template.Library()

SPEAKER_COLOURS = 8
NO_BREAK = "\N{NO-BREAK SPACE}"
NONE_YET = "\N{EN DASH}"


@register.filter
def clock(ms: int | None) -> str:
    """Return a position or a length as 0:07 or 1:02:03."""
    return NONE_YET if ms is None else turns.clock(ms)


@register.filter
def length_of(ms: int | None) -> str:
    """Return a length in words: 7 s, 4 min 10 s, 1 h 2 min."""
    if ms is None:
        return NONE_YET
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else seconds, "s"))
    return NO_BREAK.join(f"{count}{NO_BREAK}{unit}" for count, unit in parts if count) or f"0{NO_BREAK}s"


@register.filter
def language_name(code: str) -> str:
    """Return the English name of a language code, or the code itself: en → English."""
    return str(LANG_INFO.get(code, {}).get("name", code))


@register.filter
def speaker_class(position: int) -> str:
    """Return the colour of the speaker who appears at this position (from 0); after the eighth they repeat."""
    return f"speaker-{position % SPEAKER_COLOURS + 1}"


@register.filter
def of(found: Mapping[Any, Any] | str, key: object) -> Any:
    """Return what a mapping has for a key; None without the mapping."""
    return found.get(key) if isinstance(found, Mapping) else None


@register.filter
def marked(text: str, phrases: Sequence[str]) -> SafeString:
    """Return a text with the phrases of a search marked in it."""
    parts: list[tuple[str, str, str]] = []
    at = 0
    for place in search_words.places([text], phrases or ()):
        first, end = max(at, place[0].first), place[0].end
        if first < end:
            parts += [("", text[at:first], ""), ("<mark>", text[first:end], "</mark>")]
            at = end
    parts.append(("", text[at:], ""))
    return format_html_join(
        "", "{}{}{}", [(SafeString(opens), part, SafeString(closes)) for opens, part, closes in parts]
    )
