"""What transcription knows to be wrong with the money: holds of jobs that have ended. `check_ledger` asks it."""

import uuid
from collections.abc import Iterator

from billing.models import Hold
from transcription.models import FINAL_STATUSES, Job

PREFIX = "job:"
BATCH_COUNT = 500


def orphaned_holds() -> Iterator[str]:
    """Yield one sentence for each open hold whose job has ended or does not exist."""
    holds = Hold.objects.open().filter(reference__startswith=PREFIX).order_by("pk")
    last_id = 0
    while batch := list(holds.filter(pk__gt=last_id)[:BATCH_COUNT]):
        # The jobs are read after the holds: one that ends in between settles its hold in the same transaction.
        running = set(
            Job.objects.filter(pk__in=[_job_id(hold) for hold in batch])
            .exclude(status__in=FINAL_STATUSES)
            .values_list("pk", flat=True)
        )
        suspects = [hold.pk for hold in batch if _job_id(hold) not in running]
        for hold in Hold.objects.open().filter(pk__in=suspects).order_by("pk"):
            yield f"Hold {hold.pk} of {hold.amount_micros} is open, but {hold.reference} has ended or does not exist."
        last_id = batch[-1].pk


def _job_id(hold: Hold) -> uuid.UUID | None:
    try:
        return uuid.UUID(hold.reference.removeprefix(PREFIX))
    except ValueError:
        return None
