"""How values look to people: money, lengths, times, states and speakers. Text only; decides nothing."""

from datetime import datetime
from typing import Any

from django import template
from django.conf.locale import LANG_INFO
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing import money as amounts

register = template.Library()

SPEAKER_COLOURS = 8
# Marks in User-Agent headers, the telling one first: Edge says that it is Chrome, and Chrome that it is Safari.
BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
NO_BREAK = "\N{NO-BREAK SPACE}"
NONE_YET = "\N{EN DASH}"


@register.filter
def money(micros: int | None) -> str:
    """Return exact dollars with at least two decimals and at most six: $0.30, $0.000417."""
    return NONE_YET if micros is None else amounts.display_text(micros)


@register.filter
def signed_money(micros: int) -> str:
    """Return exact dollars that always carry their sign, a minus being the true minus sign."""
    return money(micros) if micros <= 0 else f"+{money(micros)}"


@register.filter
def cents(micros: int | None) -> str:
    """Return dollars and whole cents, rounded down: what can surely be spent."""
    return amounts.display_text(amounts.cents_down(micros or 0) * amounts.MICROS_PER_CENT)


@register.filter
def cents_money(cents: int | None) -> str:
    """Return an amount that is kept in cents as exact dollars: 20000 is $200.00."""
    return NONE_YET if cents is None else amounts.display_text(cents * amounts.MICROS_PER_CENT)


@register.filter
def grouped(count: int) -> str:
    """Return a count with its thousands apart: 1,234,567."""
    return f"{count:,}"


@register.filter
def clock(ms: int | None) -> str:
    """Return a position or a length as 0:07 or 1:02:03."""
    if ms is None:
        return NONE_YET
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


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
def ago(moment: datetime | None) -> SafeString | str:
    """Return a time as people say it, with the exact UTC time as title."""
    if moment is None:
        return NONE_YET
    is_recent = abs(timezone.now() - moment).days < 7
    text = naturaltime(moment) if is_recent else f"{moment:%-d %b %Y}"
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        f"{moment:%Y-%m-%d %H:%M:%S}",
        text,
    )


@register.filter
def day(moment: datetime | None) -> SafeString | str:
    """Return the date of a time, with the exact UTC time as title."""
    if moment is None:
        return NONE_YET
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        f"{moment:%Y-%m-%d %H:%M:%S}",
        f"{moment:%-d %b %Y}",
    )


@register.filter
def language_name(code: str) -> str:
    """Return the English name of a language code, or the code itself: en → English."""
    return str(LANG_INFO.get(code, {}).get("name", code))


@register.filter
def browser_name(user_agent: str) -> str:
    """Return a browser and a system by the names that people know: "Firefox on Linux". A guess, for display only."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), "Another program")
    system = next((f" on {name}" for mark, name in SYSTEMS if mark in user_agent), "")
    return f"{browser}{system}"


@register.filter
def speaker_class(position: int) -> str:
    """Return the colour of the speaker who appears at this position (from 0); after the eighth they repeat."""
    return f"speaker-{position % SPEAKER_COLOURS + 1}"


@register.simple_tag(takes_context=True)
def current(context: template.Context, prefix: str, but_not: str = "") -> SafeString | str:
    """Mark the entry of the navigation under whose address the page lies."""
    request: Any = context.get("request")
    if request is None or not request.path.startswith(prefix) or (but_not and request.path.startswith(but_not)):
        return ""
    return SafeString(' aria-current="page"')
