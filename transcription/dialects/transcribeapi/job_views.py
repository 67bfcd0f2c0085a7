"""TranscribeAPI's addresses for jobs whose files are sent by themselves: create, upload, resume, complete."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import Conflict
from transcription import jobs
from transcription.dialects import steps
from transcription.dialects.transcribeapi import answers, creation, errors, manifest, results, schema, targets_shown
from transcription.dialects.transcribeapi.errors import Refused
from transcription.dialects.transcribeapi.gate import LargeJsonParser, TranscribeApiGateView, json_of
from transcription.dialects.transcribeapi.manifest import File
from transcription.models import Job, JobItem, Status, Upload, UploadState
from transcription.recordings import uploads

# While files may still come.
SENDING = (Status.UPLOADING, Status.VERIFYING)


class JobsView(TranscribeApiGateView):
    """Order the transcription of one large file, or of many."""

    parser_classes = [LargeJsonParser]
    orders = True
    invalid_code = errors.JOB_REQUEST
    turns = creation.TURNS

    @extend_schema(operation_id="transcribeapi_create_job", **schema.CREATE_JOB)
    def post(self, request: Request) -> Response:
        """`type` is `big_file` or `batch`. A file has a `url`, or is sent to the address that the answer (`big_file`)
        or `upload-urls` (`batch`) has. Then call `upload-completed`. A batch has up to 10,000 files and 10 GB.
        """
        return creation.respond(self, request, read=manifest.read_job, has_all_uploads=False, turns=self.turns)


class UploadUrlsView(TranscribeApiGateView):
    """Where the files of a batch are to be sent."""

    parser_classes = [LargeJsonParser]
    invalid_code = "invalid_file_metadata"

    @extend_schema(
        operation_id="transcribeapi_upload_urls",
        summary="Get upload addresses as TranscribeAPI does",
        tags=["TranscribeAPI"],
        request=schema.UploadUrlsRequest,
        responses={200: schema.UploadUrls, **schema.error_responses(400, 401, 403, 404, 409, 429)},
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Up to 1,000 files of the job at a time, by their `file_id`. The addresses live for an hour; ask again for new
        ones. A file that has come already has no `upload`.
        """
        job = _sending(steps.find_job(self.caller, job_id))
        page = manifest.read_page(json_of(request))
        found = {
            item.reference: item
            for item in job.items.filter(reference__in=[file.reference for file in page]).select_related(
                "upload__source"
            )
        }
        with transaction.atomic():
            items = [_described(file, found.get(file.reference)) for file in page]
            declared = Upload.objects.filter(items__job=job).aggregate(total=Sum("declared_bytes"))["total"] or 0
            if declared > manifest.MAX_TOTAL_BYTES:
                limit = manifest.MAX_TOTAL_BYTES
                raise Refused(
                    "batch_too_large", f"The files of a job may have {limit // 1000**3} GB together.", max_bytes=limit
                )
        return Response(
            {
                "job_id": str(job.pk),
                "uploads": [targets_shown.show_if_waiting(item, site_url=settings.SITE_URL) for item in items],
            }
        )


class ResumeUploadView(TranscribeApiGateView):
    """How a broken upload goes on."""

    parser_classes = [LargeJsonParser]
    invalid_code = "invalid_upload"

    @extend_schema(
        operation_id="transcribeapi_resume_upload",
        summary="Resume an upload as TranscribeAPI does",
        tags=["TranscribeAPI"],
        request=schema.ResumeRequest,
        responses={200: schema.Resumed, **schema.error_responses(400, 401, 403, 404, 409, 429)},
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Fresh addresses for the file of a `big_file` job. Parts that have come stay."""
        job = steps.find_job(self.caller, job_id)
        kind, key, upload_id = manifest.read_resumed(json_of(request))
        if job.item_count > 1:
            raise Refused("invalid_upload", "The job is a batch: ask for its addresses by upload-urls.")
        waiting = creation.waiting_items(_sending(job))
        if not waiting:
            raise Conflict("The file has been sent already.", error_type="job_runs")
        upload = targets_shown.show(waiting[0], site_url=settings.SITE_URL)["upload"]
        if upload["type"] != kind:
            raise Refused(
                "invalid_upload", f"The upload of this job is of the type {upload['type']}.", param="upload.type"
            )
        for name, given in (("key", key), ("upload_id", upload_id)):
            if given and given != upload.get(name, given):
                raise Refused("invalid_upload", f"upload.{name} is not that of this job.", param=f"upload.{name}")
        return Response({"job_id": str(job.pk), **_statuses(job), "upload": upload})


class UploadCompletedView(TranscribeApiGateView):
    """Say that all files have been sent."""

    parser_classes = []

    @extend_schema(
        operation_id="transcribeapi_upload_completed",
        summary="Complete the uploads as TranscribeAPI does",
        tags=["TranscribeAPI"],
        request=None,
        responses={200: schema.Job, **schema.error_responses(401, 403, 404, 409, 429)},
    )
    def post(self, request: Request, job_id: str) -> Response:
        """The work begins. Files that were not sent fail, and the others are transcribed."""
        job = steps.find_job(self.caller, job_id)
        try:
            jobs.uploads_completed(job)
        except Conflict:
            if not _was_just_completed(job):
                raise
        job.refresh_from_db()
        return Response(results.show_job(job, site_url=settings.SITE_URL, now=timezone.now()))


def _sending(job: Job) -> Job:
    """Return the job. Raises Refused unless its files may still come."""
    if job.status not in SENDING:
        raise Refused(
            "invalid_job_status", f"The job takes no files any more: it is {results.status_of(job)}.", **_statuses(job)
        )
    return job


def _statuses(job: Job) -> dict[str, str]:
    return dict(answers.both(results.status_of(job)))


def _described(file: File, item: JobItem | None) -> JobItem:
    """Return the item that a file of a page names, with what the page adds to its announcement. Raises Refused."""
    if item is None or item.upload is None:
        raise Refused("invalid_file_metadata", f"The job has no file '{file.reference[:64]}'.", param="file_id")
    if hasattr(item.upload, "source"):
        raise Refused(
            "invalid_file_metadata", f"The file '{file.reference[:64]}' has a url: it is not sent.", param="file_id"
        )
    if item.upload.state == UploadState.WAITING and (file.name or file.size_bytes or file.content_type):
        manifest.require_same_size(file, declared_bytes=item.upload.declared_bytes)
        uploads.describe(item.upload, name=file.name, declared_bytes=file.size_bytes, declared_type=file.content_type)
    return item


def _was_just_completed(job: Job) -> bool:
    """Tell whether the same was said a moment ago: the packages say it again if the answer was lost."""
    at = job.uploads_completed_at
    return at is not None and timezone.now() - at < timedelta(seconds=settings.REPEAT_SECONDS)
