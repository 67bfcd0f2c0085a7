"""Fields of a job that the engine does not see: how long the job is kept, who is told of its end. Pure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from accounts.errors import InvalidField

if TYPE_CHECKING:
    # For annotations only.
    from transcription.models import Job

KEEP = "keep"
DELETE_AFTER_RETRIEVAL = "delete_after_retrieval"
MAX_RETENTION_DAYS = 3650
# AssemblyAI's names for the same (API reference, "webhook_auth_header_name", read 2026-11-29).
WEBHOOK_FIELDS = ("url", "auth_header_name", "auth_header_value")


def read_retention(fields: Mapping[str, str]) -> tuple[bool, int | None]:
    """Return (is the job deleted after its retrieval, for how many days is it kept; None for no limit)."""
    choice = fields.get("retention", "").strip()
    if choice in ("", KEEP, DELETE_AFTER_RETRIEVAL):
        return choice == DELETE_AFTER_RETRIEVAL, None
    days = int(choice) if choice.isascii() and choice.isdecimal() and len(choice) <= 4 else 0
    if not 1 <= days <= MAX_RETENTION_DAYS:
        raise InvalidField(
            "retention",
            f"retention must be {KEEP}, {DELETE_AFTER_RETRIEVAL} or a number of days, 1 to {MAX_RETENTION_DAYS}.",
        )
    return False, days


def read_webhook(fields: Mapping[str, str]) -> tuple[str, str, str]:
    """Return (URL, name of the header that its receiver asks for, its value). All are "" for none."""
    url, name, value = (fields.get(f"webhook_{field}", "").strip() for field in WEBHOOK_FIELDS)
    if not url and (name or value):
        raise InvalidField("webhook_url", "A header for a webhook needs the webhook_url.")
    return url, name, value


def show_retention(job: "Job") -> str:
    """Return the choice as it would be sent."""
    if job.deletes_after_retrieval:
        return DELETE_AFTER_RETRIEVAL
    return KEEP if job.retention_days is None else str(job.retention_days)
