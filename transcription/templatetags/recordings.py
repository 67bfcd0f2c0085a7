"""How recordings look to people: positions, lengths, languages and speakers. Decides nothing."""

from django import template
from django.conf.locale import LANG_INFO

from transcription.speech import turns

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
