"""What workers do at once to the items of one job, for test_batches. Fork servers load this module: no pytest in it."""

from uuid import UUID

from tests.transcription.factories import make_transcript
from transcription import jobs
from transcription.models import JobItem


def finish(item_ids: list[UUID], worker: int) -> bool:
    """Finish the worker's item, which was claimed, and return whether that counted."""
    item = JobItem.objects.select_related("job", "media").get(pk=item_ids[worker])
    return jobs.finish_item(item, transcript=make_transcript())
