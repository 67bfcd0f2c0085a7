"""Entry points of RQ: an id in or nothing, one call, nothing else."""

import uuid

from accounts import log_context
from transcription.jobs import importing, queue, verification, work


def run_item(item_id: str) -> None:
    """Transcribe one item."""
    log_context.begin(item_id=item_id)
    work.run_item(uuid.UUID(item_id))


def verify_item(item_id: str) -> None:
    """Find out what recording an item's upload is."""
    log_context.begin(item_id=item_id)
    verification.verify_item(uuid.UUID(item_id))


def enqueue_rest(job_id: str, position: int) -> None:
    """Tell the workers of the items of a batch, from a position on."""
    log_context.begin(job_id=job_id)
    queue.enqueue_rest(uuid.UUID(job_id), position=position)


def fetch_imports() -> None:
    """Fetch the files that customers named by URL."""
    importing.fetch_all()
