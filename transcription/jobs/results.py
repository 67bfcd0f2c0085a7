"""Results: read the stored transcript of an item, to work with it here or to give it to a program or a person."""

import json

from django.core.files.storage import default_storage

from accounts.errors import Conflict, NotFound
from transcription.jobs import retention
from transcription.models import Job, JobItem, Status
from transcription.speech.transcript import Transcript


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
    """Return the result of one item. Raises NotFound until it has completed, and when its file is gone."""
    if item.status != Status.COMPLETED:
        raise NotFound("There is no result yet.", error_type="result_not_found")
    try:
        with default_storage.open(item.result_key, "rb") as file:
            return Transcript.from_dict(json.loads(file.read()))
    except FileNotFoundError as error:
        raise NotFound("The result is no longer stored.", error_type="result_not_found") from error


def retrieve(job: Job) -> Transcript:
    """Return the result of a job to be given away, which counts as its retrieval. Raises as `transcript_of`."""
    transcript = transcript_of(job)
    retention.record_retrieval(job)
    return transcript


def retrieve_item(item: JobItem) -> Transcript:
    """Return the result of one item to be given away. Raises as `transcript_of_item`."""
    transcript = transcript_of_item(item)
    retention.record_retrieval(item.job)
    return transcript
