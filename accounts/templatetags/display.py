"""Template filters of every app: times, counts, browser names, and the current entry of the navigation."""

from datetime import datetime
from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts import links

register = template.Library()

# Parts of User-Agent headers. The order matters: Edge also says that it is Chrome, and Chrome that it is Safari.
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
NONE_YET = "\N{EN DASH}"


@register.filter
def grouped(count: int) -> str:
    """Return a count with thousands separators: 1,234,567."""
    return f"{count:,}"


@register.filter
def with_code(text: str) -> SafeString:
    """Return a text as HTML, in which what stands between backticks is code."""
    pieces = enumerate(text.split("`"))
    return format_html_join("", "{}", ((format_html("<code>{}</code>", one) if at % 2 else one,) for at, one in pieces))


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """Return a relative time such as "3 minutes ago", with the exact UTC time as title."""
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
def browser_name(user_agent: str) -> str:
    """Return browser and system, such as "Firefox on Linux". This is a guess, for display only."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), "Unknown browser")
    system = next((f" on {name}" for mark, name in SYSTEMS if mark in user_agent), "")
    return f"{browser}{system}"


@register.simple_tag(takes_context=True)
def current(context: template.Context, prefix: str, but_not: str = "") -> SafeString | str:
    """Mark the current entry of the navigation: the one whose address is a prefix of the page's.

    prefix, but_not: with or without organization.
    """
    request: Any = context.get("request")
    path = links.within_organization(request.path) if request is not None else ""
    prefix, but_not = links.within_organization(prefix), links.within_organization(but_not)
    if not path.startswith(prefix) or (but_not and path.startswith(but_not)):
        return ""
    return SafeString(' aria-current="page"')
