"""Results: read the stored transcript of an item, to work with it here or to give it to a program or a person."""

import json
from collections.abc import Iterator

from django.core.files.storage import default_storage

from accounts.errors import Conflict, NotFound
from transcription.jobs import corrections, retention
from transcription.models import Job, JobItem, Status
from transcription.speech import correcting
from transcription.speech.transcript import Transcript

# Items that are read at once where all of a job are wanted.
ITEMS_BATCH_SIZE = 200


def transcript_of(job: Job) -> Transcript:
    """Return the result of a completed job that has one item.

    Raises NotFound until there is a result, and Conflict for a job with several: each item has its own.
    """
    if job.item_count > 1:
        raise Conflict(
            f"This job has {job.item_count} recordings. Ask for the result of each.", error_type="several_results"
        )
    item = job.items.first() if job.is_completed else None
    if item is None:
        raise NotFound("There is no result yet.", error_type="result_not_found")
    return transcript_of_item(item)


def transcript_of_item(item: JobItem) -> Transcript:
    """Return the result of one item, with people's corrections. Raises as `original_of_item`."""
    original = original_of_item(item)
    if item.corrected_at is None:
        return original
    return correcting.without_empty(correcting.corrected(original, corrections.of(item)))


def original_of_item(item: JobItem) -> Transcript:
    """Return the result of one item as it was recognized. Raises NotFound until it has completed, or without its file.

    Its segments have the numbers that corrections name.
    """
    if item.status != Status.COMPLETED:
        raise NotFound("There is no result yet.", error_type="result_not_found")
    try:
        with default_storage.open(item.result_key, "rb") as file:
            return Transcript.from_dict(json.loads(file.read()))
    except FileNotFoundError as error:
        raise NotFound("The result is no longer stored.", error_type="result_not_found") from error


def items_page(job: Job, *, position: int, limit: int) -> list[JobItem]:
    """Return so many items of a job from a position on, with what they are called by. Reads no others."""
    return list(job.items.select_related("media", "upload").filter(position__gte=position)[:limit])


def items_of(job: Job) -> Iterator[JobItem]:
    """Yield all items of a job in their order, and hold few of them at a time."""
    position = 0
    while page := items_page(job, position=position, limit=ITEMS_BATCH_SIZE):
        yield from page
        position = page[-1].position + 1


def require_results(job: Job) -> None:
    """Raise NotFound until a job has completed: then each of its items has a result or the reason why not."""
    if not job.is_completed:
        raise NotFound("There is no result yet.", error_type="result_not_found")


def retrieve(job: Job) -> Transcript:
    """Return the result of a job to be given away, which counts as its retrieval. Raises as `transcript_of`."""
    transcript = transcript_of(job)
    retention.record_whole_retrieval(job)
    return transcript


def retrieve_item(item: JobItem) -> Transcript:
    """Return the result of one item to be given away. Raises as `transcript_of_item`."""
    transcript = transcript_of_item(item)
    retention.record_item_retrieval(item)
    return transcript
