"""Entry points of RQ: an id in, one call, nothing else."""

import uuid

from transcription.jobs import work


def run_item(item_id: str) -> None:
    """Transcribe one item."""
    work.run_item(uuid.UUID(item_id))
