"""Fields of a job that the engine does not see: metadata, how long the job is kept, who is told of its end. Pure."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from accounts.errors import InvalidField

if TYPE_CHECKING:
    # For annotations only.
    from transcription.models import Job

MAX_METADATA_PAIRS = 16
MAX_METADATA_NAME = 64
MAX_METADATA_VALUE = 512
KEEP = "keep"
DELETE_AFTER_RETRIEVAL = "delete_after_retrieval"
MAX_RETENTION_DAYS = 3650
# AssemblyAI's names for the same (API reference, "webhook_auth_header_name", read 2026-11-29).
WEBHOOK_FIELDS = ("url", "auth_header_name", "auth_header_value")


def read_metadata(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the customer's pairs of texts from a JSON object. Raises InvalidField for anything else.

    The limits are those of OpenAI's API (API reference, "metadata", read 2026-11-29).
    """
    text = fields.get("metadata", "").strip()
    if not text:
        return {}
    try:
        pairs = json.loads(text)
        # A lone surrogate is JSON and no text.
        json.dumps(pairs, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidField("metadata", "metadata must be a JSON object of texts.") from error
    if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
        raise InvalidField("metadata", "metadata must be a JSON object of texts.")
    if len(pairs) > MAX_METADATA_PAIRS:
        raise InvalidField("metadata", f"metadata may have {MAX_METADATA_PAIRS} pairs at most.")
    for name, value in pairs.items():
        if not 1 <= len(name) <= MAX_METADATA_NAME or len(value) > MAX_METADATA_VALUE:
            raise InvalidField(
                "metadata",
                f"A name in metadata has 1 to {MAX_METADATA_NAME} characters, a value at most {MAX_METADATA_VALUE}.",
            )
        if "\x00" in name + value:
            raise InvalidField("metadata", "metadata has a NUL character in it.")
    return pairs


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
