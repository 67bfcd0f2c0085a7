"""Workers that claim the items of one batch while it is canceled, for test_batches. Fork servers load this module."""

from uuid import UUID

from transcription import jobs
from transcription.models import Job

CANCELS = 3


def claim_or_cancel(job_id: UUID, item_ids: list[UUID], worker: int) -> list[UUID]:
    """Cancel the job as one of the workers, as all others claim every item in turn. Returns what was claimed."""
    if worker == CANCELS:
        jobs.cancel(Job.objects.get(pk=job_id))
        return []
    claimed = [jobs.claim(item_id) for item_id in item_ids]
    return [item.pk for item in claimed if item is not None]
