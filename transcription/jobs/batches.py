"""Jobs of recordings that are not known yet: files that customers will send, that lie at URLs, or both in one job.

The announced files, the imports, the job and an item each are one transaction, however many they are. What happens to
them then, one by one, is in `verification`.
"""

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from accounts.errors import BadRequest, Conflict, InvalidField, VoxsiteError
from transcription import recordings
from transcription.jobs import lifecycle, queue, search, verification
from transcription.jobs.submission import MAX_BATCH_BYTES, MAX_FILES, MAX_REFERENCE_LENGTH, Source, Submission
from transcription.models import Import, Job, JobItem, Media, Priority, Status, Upload, UploadState
from transcription.recordings import expiry, imports, uploads
from transcription.recordings.uploads import require_kept

# Until their price is held.
_WAITS_FOR_FILES = (Status.UPLOADING, Status.VERIFYING)


def submit_uploads(submission: Submission, *, uploads: Sequence[Upload], name: str) -> Job:
    """Request the transcription of announced files whose bytes may still come, an item each.

    The job is priced and held when all its recordings are known (see `verification`). Until then nothing is promised:
    callers use `require_funds` first. name: what lists and statements show.
    Raises NotFound for an upload that was deleted meanwhile.
    """
    assert uploads, "a job has an item"
    organization = submission.organization
    assert all(upload.organization_id == organization.pk for upload in uploads), "uploads are reached by organization"
    job = lifecycle.new_job(submission, name=name, item_count=len(uploads), default_priority=Priority.STANDARD)
    with transaction.atomic():
        require_kept(uploads)
        _create(job, items=[JobItem(upload=upload) for upload in uploads], submission=submission)
    return job


def submit_sources(submission: Submission, *, sources: Sequence[Source], name: str = "") -> Job:
    """Request the transcription of recordings of all kinds as one job, an item each, in their order.

    name: as in `submit_uploads`, or "" for one that is made of the files'. As there, the job is priced when all are
    known. That is at once when all were sent before: then it raises PaymentRequired and InvalidField as
    `lifecycle.submit`.
    Raises BadRequest (too_many_files, batch_too_large), and InvalidField for what is wrong with one source, whose param
    begins with `files[N]`. Then nothing is left.
    """
    _require_acceptable(sources)
    assert all(
        source.stored is None or source.stored.organization_id == submission.organization.pk for source in sources
    ), "stored files are reached by organization"
    default_priority = Priority.BULK if len(sources) > 1 else Priority.STANDARD
    job = lifecycle.new_job(submission, name=name, item_count=len(sources), default_priority=default_priority)
    fetched: list[Import] = []
    announced: list[Upload] = []
    items: list[JobItem] = []
    for position, source in enumerate(sources):
        item = JobItem(reference=source.reference, requested_language=source.language)
        try:
            if isinstance(source.stored, Media):
                item.media = source.stored
            elif source.stored is not None:
                item.upload = source.stored
            elif source.url:
                fetched.append(_prepare_import(submission, source=source, priority=Priority(job.priority)))
                item.upload = fetched[-1].upload
            else:
                announced.append(_prepare_upload(submission, source=source))
                item.upload = announced[-1]
        except VoxsiteError as error:
            raise InvalidField(f"files[{position}].{error.data.get('param', 'file')}", error.message) from error
        items.append(item)
    job.name = name or _name_of(items)
    if not announced:
        job.uploads_completed_at = job.created_at
    with transaction.atomic():
        recordings.require_stored([item.media for item in items if item.media is not None])
        require_kept([source.stored for source in sources if isinstance(source.stored, Upload)])
        uploads.begin_all(announced)
        imports.begin_all(fetched)
        _create(job, items=items, submission=submission)
        if any(isinstance(source.stored, Upload) for source in sources):
            verification.start(job)
        if job.items_unverified == 0:
            verification.hold_and_queue(job)
        if fetched:
            transaction.on_commit(queue.enqueue_imports)
    return job


def uploads_completed(job: Job) -> int:
    """Take note that the customer has sent all files, and fail the items whose files have not come.

    Files at URLs are waited for all the same. Returns how many items failed. Raises Conflict when the job is past that:
    it was canceled, or this was said before and it has got further than verifying.
    """
    missing = BadRequest("The file was not sent.", error_type="upload_missing", param="file")
    # Nobody tells us what came into object storage. Outside of the transaction, since it is asked over the network.
    uploads.confirm_all(job.organization, waiting=Upload.objects.filter(items__job=job, source__isnull=True))
    with lifecycle.lock_job(job.pk) as locked:
        if locked is None or not _may_be_completed(locked):
            raise Conflict(
                "All files of the job have been sent already, or it has ended.", error_type="invalid_job_status"
            )
        if locked.uploads_completed_at is None:
            locked.uploads_completed_at = timezone.now()
            locked.save(update_fields=["uploads_completed_at"])
        verification.start(locked)
        # Whose bytes come at this moment: one of the two UPDATEs of the state wins.
        sent_by_customer = Upload.objects.filter(items__job=locked, source__isnull=True, state=UploadState.WAITING)
        missed = list(sent_by_customer.select_for_update(of=("self",), no_key=True).order_by("pk"))
        Upload.objects.filter(pk__in=sent_by_customer.values("pk"), state=UploadState.WAITING).update(
            state=UploadState.EXPIRED
        )
        # Parts of them, and bytes in a bucket that nobody was told of.
        transaction.on_commit(lambda: expiry.remove_bytes(missed))
        failed = verification.fail_expired(locked, error=missing)
    job.refresh_from_db()
    return failed


def _may_be_completed(job: Job) -> bool:
    if job.status in _WAITS_FOR_FILES:
        return True
    # The bytes of a short recording may be verified, and even be transcribed, before the customer says so.
    return job.uploads_completed_at is None and job.status != Status.CANCELED


def _require_acceptable(sources: Sequence[Source]) -> None:
    """Raise BadRequest or InvalidField unless the sources can be one job."""
    if not sources:
        raise InvalidField("files", "A job has one file at least.")
    if len(sources) > MAX_FILES:
        raise BadRequest(
            f"A job may have {MAX_FILES} files, and this one has {len(sources)}.",
            error_type="too_many_files",
            param="files",
        )
    total_bytes = 0
    positions: dict[str, int] = {}
    for position, source in enumerate(sources):
        if len(source.reference) > MAX_REFERENCE_LENGTH:
            raise InvalidField(
                f"files[{position}].reference", f"A reference may have {MAX_REFERENCE_LENGTH} characters."
            )
        if source.reference and (first := positions.setdefault(source.reference, position)) != position:
            raise InvalidField(
                f"files[{position}].reference",
                f"The files {first + 1} and {position + 1} have the same reference. It must name one file of the job.",
            )
        if source.url and (source.declared_bytes is not None or source.stored is not None):
            raise InvalidField(f"files[{position}].url", "A file has a URL, or it is sent: not both.")
        total_bytes += _known_bytes(source)
    if total_bytes > MAX_BATCH_BYTES:
        raise BadRequest(
            f"A job may have {MAX_BATCH_BYTES // 1000**3} GB, and the files have {total_bytes} bytes together.",
            error_type="batch_too_large",
            param="files",
        )


def _name_of(items: Sequence[JobItem]) -> str:
    """Return what lists call a job of these files."""
    others = len(items) - 1
    if not others:
        return items[0].name
    return f"{items[0].name} and {others:,} other{'s' if others > 1 else ''}"


def _known_bytes(source: Source) -> int:
    """Return how large a source is, 0 while that is not known. Then its size counts when it has come."""
    if isinstance(source.stored, Media):
        return source.stored.size_bytes
    if source.stored is not None:
        return source.stored.declared_bytes or 0
    return source.declared_bytes or 0


def _prepare_upload(submission: Submission, *, source: Source) -> Upload:
    return uploads.prepare(
        submission.organization,
        name=source.name or source.reference,
        declared_bytes=source.declared_bytes,
        declared_type=source.declared_type,
        api_key=submission.api_key,
    )


def _prepare_import(submission: Submission, *, source: Source, priority: Priority) -> Import:
    return imports.prepare(
        submission.organization,
        url=source.url,
        name=source.name,
        priority=priority,
        api_key=submission.api_key,
    )


def _create(job: Job, *, items: Sequence[JobItem], submission: Submission) -> None:
    """Insert a job with its items in their order. Runs in the caller's transaction.

    Items with a recording wait for the others; there is no price yet.
    """
    for position, item in enumerate(items):
        item.job, item.position = job, position
        item.status = Status.UPLOADING if item.media_id is None else Status.VERIFYING
    job.items_unverified = sum(item.media_id is None for item in items)
    job.status = Status.UPLOADING if job.items_unverified else Status.VERIFYING
    job.duration_ms = 0
    job.received_bytes = sum(item.media.size_bytes for item in items if item.media is not None)
    lifecycle.insert(job)
    JobItem.objects.bulk_create(items, batch_size=lifecycle.INSERT_BATCH_SIZE)
    search.record_names(job, names=[item.name for item in items])
    if submission.in_transaction is not None:
        submission.in_transaction(job)
