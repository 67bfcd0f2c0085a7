"""Deletes jobs whose retention is over, as their customers would: recording, result and all rows.

The ledger stays, and so do the tags of charges, or there would be no usage by tag of jobs that are deleted soon.
"""

import logging
from datetime import datetime

from transcription.jobs import deletion
from transcription.models import Job

logger = logging.getLogger(__name__)

# Jobs that one round of the clock deletes; the rest waits for the next round, a minute later.
PURGE_BATCH_SIZE = 500


def purge(*, now: datetime) -> int:
    """Delete jobs that are due. Returns how many. Two clocks may do it at once."""
    due = Job.objects.filter(delete_at__lte=now).order_by("delete_at")[:PURGE_BATCH_SIZE]
    deleted = 0
    for job in list(due):
        try:
            deletion.expire(job)
        except Exception:  # One broken row must not keep all others.
            logger.exception("Job %s is due and was not deleted.", job.pk)
        else:
            deleted += 1
    return deleted
