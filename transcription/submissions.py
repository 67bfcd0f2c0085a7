"""The one way from every door (pages and dialects) to a job: look at the funds, accept what was sent, submit.

When anything goes wrong, nothing of it stays: no file, no job, no hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.files.uploadedfile import UploadedFile

from accounts.models import ApiKey, Organization, User
from transcription import jobs, recordings
from transcription.models import Job, Media, Priority, Upload
from transcription.speech.options import TranscriptionOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What every door says of a job, however its recordings come.

    dialect: the door, whose words later answers use. priority: None for what the verb takes by itself: standard for one
    recording, bulk for many. in_transaction: called with the job inside the transaction that makes it; what it raises
    undoes the job.
    """

    organization: Organization
    model: str
    options: TranscriptionOptions
    dialect: str
    priority: Priority | None = None
    api_key: ApiKey | None = None
    created_by: User | None = None
    in_transaction: Callable[[Job], None] | None = None


def submit_file(submission: Submission, *, upload: "UploadedFile[Any]") -> Job:
    """Submit the file of a multipart form.

    Raises PaymentRequired, BadMedia, TooLarge and InvalidField.
    """
    jobs.require_funds(submission.organization, model=submission.model)
    with recordings.accepted(submission.organization, upload=upload) as recording:
        return jobs.submit(media=recording, **_arguments(submission))


def submit_upload(submission: Submission, *, upload: Upload) -> Job:
    """Submit an announced file, whose bytes may have come or not.

    Raises PaymentRequired when not even the shortest recording is covered. What the recording costs is known, and held,
    once it was probed.
    """
    jobs.require_funds(submission.organization, model=submission.model)
    job = jobs.submit_uploads(uploads=[upload], name=upload.name, **_arguments(submission))
    upload.refresh_from_db()
    if upload.has_its_bytes:
        jobs.bytes_have_come(upload)
        job.refresh_from_db()
    return job


def submit_batch(submission: Submission, *, recordings: Sequence[Media], name: str) -> Job:
    """Submit recordings that were accepted before, as one job. Raises PaymentRequired and InvalidField."""
    return jobs.submit_batch(recordings=recordings, name=name, **_arguments(submission))


def _arguments(submission: Submission) -> dict[str, Any]:
    given = {name: getattr(submission, name) for name in Submission.__dataclass_fields__}
    return {name: value for name, value in given.items() if value is not None}
