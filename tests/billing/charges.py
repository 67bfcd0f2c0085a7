"""Charges as transcription and the chat endpoint make them."""

import itertools
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime

import time_machine
from django.utils import timezone

from accounts.models import ApiKey, Organization
from billing import charge_tags, ledger
from billing.models import Entry, EntryKind

numbers = itertools.count(1)


def charge(
    organization: Organization,
    micros: int,
    *,
    at: datetime | None = None,
    key: ApiKey | None = None,
    model: str = "standard",
    duration_ms: int = 60_000,
    description: str = "Transcription of a.mp3",
    tags: Mapping[str, str] | None = None,
) -> Entry:
    """Charge a transcription."""
    details = {"job_id": "1", "api_key_id": str(key.pk) if key else None, "model": model, "duration_ms": duration_ms}
    entry = _charge(organization, micros, at=at, subject="job", key=key, description=description, details=details)
    charge_tags.record([(entry, tags or {})])
    return entry


def charge_chat(
    organization: Organization,
    micros: int,
    *,
    at: datetime | None = None,
    key: ApiKey | None = None,
    model: str = "apex-latest",
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
) -> Entry:
    """Charge a completion."""
    details = {
        "api_key_id": str(key.pk) if key else None,
        "model": model,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
    }
    return _charge(organization, micros, at=at, subject="chat", key=key, description="Chat completion", details=details)


def charge_many(
    organization: Organization,
    count: int,
    *,
    at: datetime | None = None,
    model: str = "standard",
    tag: str = "",
) -> None:
    """Write charges of one micro-dollar each, for reports: as quickly as thousands need, and past the ledger.

    tag: the name of a tag that has another value for each charge.
    """
    wallet = ledger.wallet_of(organization)
    details = {"job_id": "1", "api_key_id": None, "model": model, "duration_ms": 60_000}
    entries = [
        Entry(
            wallet=wallet,
            kind=EntryKind.USAGE,
            reference=f"job:test-{next(numbers)}",
            amount_micros=-1,
            balance_after_micros=0,
            details=details,
            created_at=at or timezone.now(),
        )
        for _ in range(count)
    ]
    Entry.objects.bulk_create(entries, batch_size=1_000)
    if tag:
        charge_tags.record([(entry, {tag: str(entry.pk)}) for entry in entries])


def _charge(
    organization: Organization,
    micros: int,
    *,
    at: datetime | None,
    subject: str,
    key: ApiKey | None,
    description: str,
    details: dict[str, object],
) -> Entry:
    with time_machine.travel(at, tick=False) if at else nullcontext():
        hold = ledger.reserve(
            organization, amount_micros=micros, reference=f"{subject}:test-{next(numbers)}", api_key=key
        )
        entry = ledger.settle(hold, actual_micros=micros, description=description, details=details)
    assert entry is not None
    return entry
