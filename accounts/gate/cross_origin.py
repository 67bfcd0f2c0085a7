"""Headers that let pages of other sites call the API from a browser (Fetch standard, "CORS protocol", read 2026-11-29).

Every site may: a request shows who it is by a key, a token or a signature, which the page must have. Cookies and other
credentials that a browser adds by itself are never allowed, so a page gets nothing that its visitor alone could get.
"""

from collections.abc import Iterable

# "*" does not stand for requests with credentials.
ANSWER_HEADERS = (("access-control-allow-origin", "*"), ("access-control-expose-headers", "*"))
# How long a browser remembers the answer. Two hours are the most that Chromium keeps it.
MAX_AGE_SECONDS = 7200
MAX_ASKED_BYTES = 2000


def preflight_headers(methods: Iterable[str], *, asked_headers: str) -> tuple[tuple[str, str], ...]:
    """Return the headers that answer a preflight, without those of ANSWER_HEADERS.

    asked_headers: what the browser wants to send (Access-Control-Request-Headers). It is allowed as it stands, since
    "*" would not include Authorization. A list that is too long is not allowed.
    """
    allowed = asked_headers if len(asked_headers) <= MAX_ASKED_BYTES else ""
    return (
        ("access-control-allow-methods", ", ".join(methods)),
        *((("access-control-allow-headers", allowed),) if allowed else ()),
        ("access-control-max-age", str(MAX_AGE_SECONDS)),
    )
