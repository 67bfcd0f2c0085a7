"""Results of jobs: read the stored transcript."""

import json

from django.core.files.storage import default_storage

from accounts.errors import NotFound
from transcription.models import Job, Status
from transcription.speech.transcript import Transcript


def transcript_of(job: Job) -> Transcript:
    """Return the result of a completed job. Raises NotFound until there is one."""
    item = job.items.filter(status=Status.COMPLETED).first()
    if not job.is_completed or item is None:
        raise NotFound("There is no result yet.", error_type="result_not_found")
    try:
        with default_storage.open(item.result_key, "rb") as file:
            return Transcript.from_dict(json.loads(file.read()))
    except FileNotFoundError as error:
        raise NotFound("The result is not kept any more.", error_type="result_not_found") from error
