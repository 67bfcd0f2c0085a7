"""All that an organization has here as one ZIP archive, for people who leave or keep a copy of their own.

It is made while it is sent. So nothing of it is stored, there is no link that somebody else could open later, and
nothing has to be deleted.
"""

import json
import uuid
from collections.abc import Iterator
from datetime import datetime

from django.utils import timezone

from accounts.models import ApiKey, Membership, Organization
from billing import ledger_reader
from transcription import jobs
from transcription.jobs import archives
from transcription.models import Job
from transcription.speech.formats.options import FormatOptions

JOB_BATCH_SIZE = 100
FORMAT_NAMES = ("json", "txt")


def zip_of(organization: Organization) -> Iterator[bytes]:
    """Yield the archive: transcripts as JSON and text, the ledger as CSV, and people, keys and settings as JSON.

    A transcript that is deleted after its retrieval counts as retrieved once all was sent: a download that breaks off
    must not cost what was paid for. Recordings that still wait or run are listed with those that failed.
    """
    files = [
        ("organization.json", [_described(organization)]),
        ("ledger.csv", ledger_reader.csv_lines(organization)),
    ]
    sent: list[uuid.UUID] = []
    all_jobs = _jobs_of(organization, sent=sent)
    parts = archives.zip_of(all_jobs, format_names=FORMAT_NAMES, options=FormatOptions(), files=files)
    yield from jobs.recorded_once_sent(parts, job_ids=sent)


def _described(organization: Organization) -> str:
    members = Membership.objects.filter(organization=organization).select_related("user").order_by("created_at", "pk")
    keys = ApiKey.objects.of(organization).order_by("created_at", "pk")
    return json.dumps(
        {
            "id": str(organization.pk),
            "name": organization.name,
            "created_at": _time(organization.created_at),
            "exported_at": _time(timezone.now()),
            "members": [
                {"email": member.user.email, "role": member.role, "since": _time(member.created_at)}
                for member in members
            ],
            "api_keys": [
                {
                    "id": str(key.pk),
                    "name": key.name,
                    "prefix": key.prefix,
                    "scopes": key.scopes.split(),
                    "created_at": _time(key.created_at),
                    "last_used_at": _time(key.last_used_at),
                    "expires_at": _time(key.expires_at),
                    "revoked_at": _time(key.revoked_at),
                }
                for key in keys
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def _jobs_of(organization: Organization, *, sent: list[uuid.UUID]) -> Iterator[Job]:
    """Yield all jobs, and add those to `sent` that wait for their retrieval and are whole.

    Between two batches no cursor is open: whoever reads may be slow.
    """
    in_order = Job.objects.of(organization).order_by("pk")
    last_id = None
    while batch := list((in_order.filter(pk__gt=last_id) if last_id else in_order)[:JOB_BATCH_SIZE]):
        for job in batch:
            if job.is_completed and job.deletes_after_retrieval:
                sent.append(job.pk)
            yield job
        last_id = batch[-1].pk


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
