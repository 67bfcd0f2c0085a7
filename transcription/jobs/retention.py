"""How long a job is kept: the customer's choice, when it falls due, and what counts as a retrieval of the result.

`purging` deletes what is due. Which doors count, and why there is an hour between a retrieval and the deletion, is in
docs/decisions/0033.

A job of several recordings counts as retrieved when each completed recording was, one by one, or all in one document.
Those that failed or were canceled have nothing to retrieve. Recordings may be retrieved while others of the job still
run; then the hour begins with the end of the job.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from transcription.models import Job, JobItem, Status

MAX_DAYS = 3650
# A retrieval may have broken off, and the server cannot know: for this long the result can be retrieved again.
RETRIEVAL_GRACE = timedelta(hours=1)
# A job that ended without a result cannot be retrieved. For this long a program can ask what went wrong.
WITHOUT_RESULT = timedelta(days=1)
JOB_BATCH_SIZE = 500


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a job is kept after its end: until it is deleted by hand, until its retrieval, or for some days."""

    after_retrieval: bool = False
    days: int | None = None

    def __post_init__(self) -> None:
        assert not (self.after_retrieval and self.days is not None), "a job has one retention"
        assert self.days is None or 1 <= self.days <= MAX_DAYS, "dialects refuse other numbers"


KEEP = Retention()


def of(job: Job) -> Retention:
    """Return what was chosen for a job."""
    return Retention(after_retrieval=job.deletes_after_retrieval, days=job.retention_days)


def due_after_end(job: Job, *, ended_at: datetime) -> datetime | None:
    """Return when a job that has just ended falls due, None if it is kept or waits for its retrieval."""
    if job.retention_days is not None:
        return ended_at + timedelta(days=job.retention_days)
    if job.deletes_after_retrieval and not job.is_completed:
        return ended_at + WITHOUT_RESULT
    if job.deletes_after_retrieval and _is_retrieved(job):
        return ended_at + RETRIEVAL_GRACE
    return None


def record_whole_retrieval(job: Job) -> None:
    """Record that all results of a job leave, before they do. The first time counts."""
    if job.deletes_after_retrieval:
        Job.objects.filter(pk=job.pk, delete_at__isnull=True).update(delete_at=timezone.now() + RETRIEVAL_GRACE)


def record_whole_retrievals(job_ids: Sequence[uuid.UUID]) -> None:
    """Record that all results of several completed jobs have left. The first time counts."""
    for start in range(0, len(job_ids), JOB_BATCH_SIZE):
        chosen = Job.objects.filter(pk__in=job_ids[start : start + JOB_BATCH_SIZE], deletes_after_retrieval=True)
        chosen.filter(delete_at__isnull=True).update(delete_at=timezone.now() + RETRIEVAL_GRACE)


def recorded_once_sent(parts: Iterator[bytes], *, job_ids: Sequence[uuid.UUID]) -> Iterator[bytes]:
    """Yield the parts of an answer that is long, and then record that all results of the jobs have left.

    job_ids: of completed jobs. It is read after the last part, so that whoever makes the parts may add to it.
    A download that breaks off must not cost what was paid for: whoever stops to read closes this generator, or forgets
    it, and it never comes to its end.
    """
    yield from parts
    record_whole_retrievals(job_ids)


def record_item_retrieval(item: JobItem) -> None:
    """Record that the result of one recording of a job leaves, before it does. The first time counts."""
    if not item.job.deletes_after_retrieval:
        return
    with transaction.atomic():
        # The job may end at this moment: one of the two then finds all of it retrieved.
        job = Job.objects.select_for_update().filter(pk=item.job_id).first()
        if job is None:
            return  # Deleted meanwhile.
        JobItem.objects.filter(pk=item.pk, retrieved_at__isnull=True).update(retrieved_at=timezone.now())
        if job.is_completed and _is_retrieved(job):
            record_whole_retrieval(job)


def _is_retrieved(job: Job) -> bool:
    return not job.items.filter(status=Status.COMPLETED, retrieved_at__isnull=True).exists()
