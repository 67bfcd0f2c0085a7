"""The query of GET /v1/jobs: pages, filters and search. Pure."""

import base64
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from accounts.errors import InvalidField
from transcription.dialects.native import answers, values
from transcription.speech import search_words

if TYPE_CHECKING:
    # For annotations only.
    from transcription.models import Job

MAX_PER_PAGE = 100
DEFAULT_PER_PAGE = 20
MAX_QUERY_LENGTH = 200
MAX_PHRASES = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_page(query: Mapping[str, str]) -> tuple[int, int]:
    """Return (limit, offset). A limit above the maximum is cut to it, as the seed's "max 100" is commonly served."""
    limit = values.whole(query, "limit", default=DEFAULT_PER_PAGE, minimum=1)
    return min(limit, MAX_PER_PAGE), values.whole(query, "offset", default=0, minimum=0)


def read_status(query: Mapping[str, str]) -> list[str]:
    """Return our statuses for the word asked for; an empty list means all."""
    word = query.get("status", "")
    if not word:
        return []
    found = [status for status, shown in answers.STATUS_WORDS.items() if shown == word]
    if not found:
        known = ", ".join(dict.fromkeys(answers.STATUS_WORDS.values()))
        raise InvalidField("status", f"There is no status '{values.short(word)}'. Statuses: {known}.")
    return found


def read_cursor(query: Mapping[str, str]) -> tuple[datetime, uuid.UUID] | None:
    """Return the place after which a page begins, as (created_at, job_id). None without a cursor."""
    text = query.get("cursor", "")
    if not text:
        return None
    if query.get("offset", "").strip() not in ("", "0"):
        raise InvalidField("offset", "Send either cursor or offset.")
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
        created_at = _EPOCH + timedelta(microseconds=int.from_bytes(raw[:8], signed=True))
        return created_at, uuid.UUID(bytes=raw[8:])
    except (ValueError, OverflowError) as error:
        raise InvalidField(
            "cursor", "This is no cursor of this list. Leave it out to begin with the newest job."
        ) from error


def show_cursor(job: "Job") -> str:
    """Return the cursor of the page that begins after a job. It names a place in time, so the job may be deleted."""
    microseconds = (job.created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(microseconds.to_bytes(8, signed=True) + job.id.bytes).decode()


def read_time(query: Mapping[str, str], name: str) -> datetime | None:
    """Return a moment in UTC: a date, or a date and a time as in our answers or in ISO 8601. None without one."""
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(name, f"{name} must be a time such as 2026-04-19 or 2026-04-19 19:13:18 (UTC).") from error


def read_phrases(query: Mapping[str, str]) -> list[str]:
    """Return what is searched: what stands in quotation marks, and each other word. Each has a letter or a digit."""
    text = query.get("q", "").strip()
    if len(text) > MAX_QUERY_LENGTH:
        raise InvalidField("q", f"q may have {MAX_QUERY_LENGTH} characters at most.")
    phrases = search_words.phrases_of(text)
    if text and not phrases:
        raise InvalidField("q", "q must have a word or a number in it.")
    if len(phrases) > MAX_PHRASES:
        raise InvalidField("q", f"q may have {MAX_PHRASES} words and phrases at most.")
    return phrases
