"""What transcription knows to be wrong with the money: holds of jobs that have ended, text that was shown and not
charged. `check_ledger` asks it.
"""

import uuid
from collections.abc import Iterator

from django.db.models import Sum

from billing.models import Hold
from transcription.models import FINAL_STATUSES, Job, JobItem, Status

PREFIX = "job:"
BATCH_SIZE = 500


def orphaned_holds(*, batch_size: int = BATCH_SIZE) -> Iterator[str]:
    """Yield one sentence for each open hold whose job has ended or does not exist."""
    holds = Hold.objects.open().filter(reference__startswith=PREFIX).order_by("pk")
    last_id = 0
    while batch := list(holds.filter(pk__gt=last_id)[:batch_size]):
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


def unpaid_texts(*, batch_size: int = BATCH_SIZE) -> Iterator[str]:
    """Yield one sentence for each ended job that shows text of canceled or failed items, and was charged otherwise.

    The constraints of items say what each of them costs. This compares their sum with the charge, which is less only
    if the hold did not reach.
    """
    owing = JobItem.objects.filter(status__in=(Status.CANCELED, Status.FAILED), cost_micros__gt=0)
    ended = Job.objects.filter(pk__in=owing.values("job_id"), status__in=FINAL_STATUSES).order_by("pk")
    costs = ended.annotate(due_micros=Sum("items__cost_micros")).values_list("pk", "cost_micros", "due_micros")
    last_id = uuid.UUID(int=0)
    while batch := list(costs.filter(pk__gt=last_id)[:batch_size]):
        holds = Hold.objects.in_bulk([f"{PREFIX}{job_id}" for job_id, *_ in batch], field_name="reference")
        for job_id, cost_micros, items_micros in batch:
            hold = holds.get(f"{PREFIX}{job_id}")
            due_micros = min(items_micros, hold.amount_micros) if hold else items_micros
            charged_micros = (hold.charged_micros or 0) if hold else 0
            if not charged_micros == cost_micros == due_micros:
                yield (
                    f"Job {job_id} was charged {charged_micros} and says {cost_micros}; "
                    f"its items and the text that was shown of them cost {due_micros}."
                )
        last_id = batch[-1][0]


def _job_id(hold: Hold) -> uuid.UUID | None:
    try:
        return uuid.UUID(hold.reference.removeprefix(PREFIX))
    except ValueError:
        return None
