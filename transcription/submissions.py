"""The only way from a page or a dialect to a job: check the funds, accept the recording, submit.

After an error nothing is left: no file, no job, no hold.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction

from accounts.models import ApiKey, Organization
from billing import tariff
from transcription import jobs, recordings
from transcription.jobs import Submission, queue
from transcription.models import Job, Media, Priority, Upload
from transcription.recordings import imports, orderable


def submit_file(submission: Submission, *, upload: "UploadedFile[Any]") -> Job:
    """Submit the file of a multipart form.

    Raises PaymentRequired, BadMedia, TooLarge and InvalidField.
    """
    jobs.require_funds(submission.organization, model=submission.model)
    may_be_truncated = submission.options.accept_truncated
    with recordings.accepted(submission.organization, upload=upload, may_be_truncated=may_be_truncated) as recording:
        return jobs.submit(submission, media=recording)


def store_file(
    organization: Organization,
    *,
    upload: "UploadedFile[Any]",
    may_be_truncated: bool = False,
    in_transaction: Callable[[Media], None] = lambda _: None,
) -> Media:
    """Store the file of a multipart form, for which jobs can be submitted for a while. Costs nothing.

    in_transaction: called with the recording in the transaction that makes it orderable.
    Raises PaymentRequired when not even a second of it could be transcribed, Conflict when the organization has stored
    too much without a job, BadMedia and TooLarge.
    """
    jobs.require_funds(organization, model=min(tariff.models(), key=tariff.rate_of))
    orderable.require_space(organization)
    with recordings.accepted(organization, upload=upload, may_be_truncated=may_be_truncated) as recording:
        orderable.offer(recording, in_transaction=in_transaction)
        return recording


def store_url(
    organization: Organization,
    *,
    url: str,
    api_key: ApiKey | None,
    in_transaction: Callable[[Upload], None] = lambda _: None,
) -> Upload:
    """Have the file at a URL fetched, for which jobs can be submitted from now on for a while. Costs nothing.

    in_transaction: called with the announced file in the transaction that makes it.
    Raises InvalidField for a URL that may not be called, and PaymentRequired and Conflict as `store_file`.
    """
    jobs.require_funds(organization, model=min(tariff.models(), key=tariff.rate_of))
    orderable.require_space(organization)
    with transaction.atomic():
        upload = imports.begin(
            organization,
            url=url,
            is_for_later=True,
            lifetime=timedelta(hours=settings.ORDERABLE_HOURS),
            api_key=api_key,
        )
        in_transaction(upload)
        transaction.on_commit(queue.enqueue_imports)
    return upload


def submit_stored(submission: Submission, *, file_id: str) -> Job:
    """Submit a file that `store_file` or `store_url` stored before. That of a URL may still be on its way.

    Raises NotFound for one that is a stranger's, unknown or deleted, PaymentRequired, InvalidField, and BadMedia for a
    URL whose file could not be had.
    """
    found = orderable.find(submission.organization, file_id=file_id)
    if isinstance(found, Media):
        return jobs.submit(submission, media=found)
    return submit_upload(submission, upload=found)


def submit_upload(submission: Submission, *, upload: Upload) -> Job:
    """Submit an announced file, whose bytes may have come or not.

    Raises PaymentRequired when not even the shortest recording is covered. What the recording costs is known, and held,
    once it was probed.
    """
    jobs.require_funds(submission.organization, model=submission.model)
    job = jobs.submit_uploads(submission, uploads=[upload], name=upload.name)
    upload.refresh_from_db()
    if upload.has_its_bytes:
        jobs.bytes_have_come(upload)
        job.refresh_from_db()
    return job


def submit_url(submission: Submission, *, url: str) -> Job:
    """Submit a recording that is fetched from a URL, by another process.

    Raises InvalidField for a URL that may not be called, and PaymentRequired as `submit_upload`. Whether the file can
    be had, and what it costs, is known later.
    """
    jobs.require_funds(submission.organization, model=submission.model)
    with transaction.atomic():
        upload = imports.begin(
            submission.organization,
            url=url,
            priority=submission.priority or Priority.STANDARD,
            api_key=submission.api_key,
        )
        job = jobs.submit_uploads(submission, uploads=[upload], name=upload.name)
        transaction.on_commit(queue.enqueue_imports)
    return job


def submit_batch(submission: Submission, *, recordings: Sequence[Media], name: str) -> Job:
    """Submit recordings that were accepted before, as one job. Raises PaymentRequired and InvalidField."""
    return jobs.submit_batch(submission, recordings=recordings, name=name)
