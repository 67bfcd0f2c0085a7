"""The only way from a page or a dialect to a job: check the funds, accept the recording, submit.

After an error nothing is left: no file, no job, no hold.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction

from accounts.errors import NotFound
from accounts.models import ApiKey, Organization
from billing import tariff
from transcription import jobs, recordings
from transcription.jobs import Source, Submission, queue
from transcription.models import Job, Media, Priority, Upload
from transcription.recordings import imports, orderable


def submit_file(submission: Submission, *, upload: "UploadedFile[Any]") -> Job:
    """Submit the file of a multipart form.

    Raises PaymentRequired, BadMedia, TooLarge and InvalidField, and Conflict as `store_file` for a token.
    """
    jobs.require_funds(submission.organization, model=submission.model, api_key=submission.api_key)
    if submission.api_key is not None and submission.api_key.is_token:
        # The attack: order, cancel, and so on. What was canceled costs nothing and is kept.
        orderable.require_space(submission.organization, api_key=submission.api_key)
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
    may_be_truncated: bool = False,
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
            may_be_truncated=may_be_truncated,
        )
        in_transaction(upload)
        transaction.on_commit(queue.enqueue_imports)
    return upload


def submit_stored(submission: Submission, *, file_id: str) -> Job:
    """Submit a file that `store_file` or `store_url` stored before. That of a URL may still be on its way.

    Raises NotFound for one that is a stranger's, unknown or deleted, PaymentRequired, InvalidField, and BadMedia for a
    URL whose file could not be had.
    """
    found = orderable.find(submission.organization, file_id=file_id, api_key=submission.api_key)
    if isinstance(found, Media):
        return jobs.submit(submission, media=found)
    return submit_upload(submission, upload=found)


def submit_upload(submission: Submission, *, upload: Upload) -> Job:
    """Submit an announced file, whose bytes may have come or not.

    Raises PaymentRequired when not even the shortest recording is covered. What the recording costs is known, and held,
    once it was probed.
    """
    jobs.require_funds(submission.organization, model=submission.model, api_key=submission.api_key)
    job = jobs.submit_uploads(submission, uploads=[upload], name=upload.name)
    upload.refresh_from_db()
    if upload.has_its_bytes:
        jobs.bytes_have_come(upload)
        job.refresh_from_db()
    return job


def submit_url(submission: Submission, *, url: str) -> Job:
    """Submit a recording that is fetched from a URL, by another process.

    Raises InvalidField for a URL that may not be called, PaymentRequired as `submit_upload`, and Conflict as
    `store_file`. Whether the file can be had, and what it costs, is known later.
    """
    jobs.require_funds(submission.organization, model=submission.model, api_key=submission.api_key)
    orderable.require_space(submission.organization, api_key=submission.api_key)
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


class NamedFile(Protocol):
    """One file of a batch as a caller names it: the id of a stored file or a URL, "" for the other one."""

    @property
    def file_id(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def language(self) -> str: ...


def submit_named(submission: Submission, *, files: Sequence[NamedFile]) -> Job:
    """Submit files that were sent before, by their ids, and URLs, as one job.

    Raises NotFound for an id as `submit_stored` does, and else as `submit_sources`.
    """
    found = orderable.find_all(
        submission.organization,
        file_ids=[file.file_id for file in files if file.file_id],
        api_key=submission.api_key,
    )
    for number, file in enumerate(files):
        if file.file_id and file.file_id not in found:
            raise NotFound(
                "There is no such file, or its time is over.",
                error_type="file_not_found",
                param=f"files[{number}].file_id",
            )
    sources = [
        Source(
            reference=file.reference,
            url=file.url,
            language=file.language,
            stored=found.get(file.file_id) if file.file_id else None,
        )
        for file in files
    ]
    return submit_sources(submission, sources=sources)


def submit_sources(submission: Submission, *, sources: Sequence[Source], name: str = "") -> Job:
    """Submit recordings of all kinds as one job: announced files, URLs, and files that were sent before.

    Raises PaymentRequired when not even the shortest recording is covered, Conflict as `store_file` unless all were
    sent before, and else as `jobs.submit_sources`. What the recordings cost is known, and held, once all of them were
    probed.
    """
    jobs.require_funds(submission.organization, model=submission.model, api_key=submission.api_key)
    if any(source.stored is None for source in sources):
        orderable.require_space(submission.organization, api_key=submission.api_key)
    return jobs.submit_sources(submission, sources=sources, name=name)
