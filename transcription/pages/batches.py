"""Pages of batches: several files at once from the upload page, the end of sending, and all transcripts as an archive.

The script of the upload page begins a job of announced files and sends each to its signed address, as a program would.
"""

import json
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_POST

from accounts.access import membership_for, organization_for, person
from accounts.decorators import page
from accounts.errors import Conflict, InvalidField, NotFound, VoxsiteError
from accounts.gate import limits
from accounts.links import page_url, redirect_to_page
from accounts.sent_forms import sent_once
from accounts.streaming import asynchronously
from billing import next_step
from transcription import jobs, outbound, recordings, submissions
from transcription.jobs import Source, Submission, archives
from transcription.models import Job, JobItem, Media, Priority, UploadState
from transcription.pages.forms import FormatForm, UploadForm
from transcription.recordings import upload_targets, uploads
from transcription.speech.formats import FORMATS

# So many files are waited for by a person. More go behind the recordings of others.
MAX_WATCHED_FILES = 20
# Characters of a link in a message.
MAX_SHOWN_LINK = 80


@page
@require_POST
@sent_once
def begin(request: HttpRequest) -> HttpResponse:
    """Make a job for files that the page's script will send. Answers in JSON, as the script wants it."""
    form = UploadForm(request.POST)
    if not form.is_valid():
        message = " ".join(str(text) for texts in form.errors.values() for text in texts)
        return JsonResponse({"message": message}, status=400)
    organization = organization_for(request)
    try:
        limits.spend(organization, scope="uploads")
        sources = _read_manifest(request.POST.get("manifest", ""))
        submission = submission_of(request, form=form, file_count=len(sources))
        job = submissions.submit_sources(submission, sources=sources)
    except VoxsiteError as error:
        return _refusal(request, error)
    files = [page_url(organization.pk, "batch-file", job.pk, position) for position in range(len(sources))]
    return JsonResponse(
        {
            "url": page_url(organization.pk, "transcript", job.pk),
            "complete_url": page_url(organization.pk, "batch-complete", job.pk),
            "files": files,
        },
        status=201,
    )


def submit_form(
    request: HttpRequest, *, files: Sequence["UploadedFile[Any]"], form: UploadForm
) -> tuple[Job | None, list[tuple[str, VoxsiteError]]]:
    """Submit the files of one form, and what lies behind its link, as one job, without the files that are refused.

    Returns the job, None if all files are refused, and the (name, error) of each refused one. Raises PaymentRequired
    when the balance does not cover the others; then nothing is left of them.
    """
    organization = organization_for(request)
    link = form.cleaned_data["link"]
    submission = submission_of(request, form=form, file_count=len(files) + bool(link))
    refused: list[tuple[str, VoxsiteError]] = []
    media: list[Media] = []
    jobs.require_funds(organization, model=submission.model)
    with ExitStack() as stack:
        for one in files:
            try:
                limits.spend(organization, scope="uploads")
                accepted = recordings.accepted(
                    organization, upload=one, may_be_truncated=submission.options.accept_truncated
                )
                media.append(stack.enter_context(accepted))
            except VoxsiteError as error:
                refused.append((recordings.display_name(one.name or ""), error))
        sources = [Source(stored=one) for one in media]
        if link:
            limits.spend(organization, scope="uploads")
            sources.append(Source(url=link))
        return submissions.submit_sources(submission, sources=sources) if sources else None, refused


@page
@require_POST
def file(request: HttpRequest, job_id: uuid.UUID, position: int) -> HttpResponse:
    """Say where one file is sent, again after a broken connection; or, once it was, that it has come."""
    job = _job(request, job_id)
    item = job.items.select_related("upload__organization").filter(position=position).first()
    if item is None or item.upload is None:
        raise Http404
    try:
        if request.POST.get("sent"):
            _receive(item)
            return JsonResponse({"has_come": True})
        if item.upload.has_its_bytes:
            return JsonResponse({"has_come": True})
        # The script calls the site by the address that it came from.
        target = upload_targets.instructions(item.upload, site_url="")
    except VoxsiteError as error:
        return _refusal(request, error)
    return JsonResponse({"has_come": False, "target": _show_target(target)})


@page
@require_POST
def complete(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """End the wait for files: those that were not sent fail, and the others are transcribed."""
    job = _job(request, job_id)
    try:
        jobs.uploads_completed(job)
    except Conflict as error:
        messages.warning(request, error.message)
    return redirect_to_page(request, "transcript", job.pk)


@page
@require_GET
def archive(request: HttpRequest, job_id: uuid.UUID, format_name: str) -> HttpResponseBase:
    """Send all transcripts of a batch as a ZIP archive, which is made while it is sent."""
    job = _job(request, job_id)
    if format_name not in FORMATS:
        raise Http404
    form = FormatForm(request.GET, format_name=format_name)
    if not form.is_valid():
        raise Http404
    try:
        jobs.require_results(job)
    except NotFound as error:
        messages.warning(request, error.message)
        return redirect_to_page(request, "transcript", job.pk)
    parts = archives.zip_of([job], format_names=[format_name], options=form.options)
    sent = jobs.recorded_once_sent(parts, job_ids=[job.pk])
    response = StreamingHttpResponse(asynchronously(sent), content_type="application/zip")
    name = f"{recordings.stem(job.name, otherwise='transcripts')}-{format_name}.zip"
    response["Content-Disposition"] = content_disposition_header(True, name)
    return response


def submission_of(request: HttpRequest, *, form: UploadForm, file_count: int) -> Submission:
    """Return the options of the form as a request of its sender. form: a valid one."""
    return Submission(
        organization=organization_for(request),
        model=form.cleaned_data["model"],
        options=form.options,
        dialect="pages",
        priority=Priority.INTERACTIVE if file_count <= MAX_WATCHED_FILES else Priority.BULK,
        created_by=person(request),
    )


def _read_manifest(text: str) -> list[Source]:
    """Return what the script announces: a JSON list of links, and of [name, bytes] for files. Raises InvalidField."""
    try:
        entries = json.loads(text)
        sources = [_source_of(entry) for entry in entries] if isinstance(entries, list) else []
    except (ValueError, TypeError, RecursionError):
        sources = []
    if not sources:
        raise InvalidField("files", "Choose at least one recording.")
    return sources


def _source_of(entry: Any) -> Source:
    """Return the recording of one entry of a manifest. Raises ValueError and TypeError for one that is none."""
    if isinstance(entry, str):
        try:
            outbound.parse(entry)
        except outbound.AddressRefused as error:
            # Several links may be at fault: the message names one of them.
            raise InvalidField("files", f"“{entry[:MAX_SHOWN_LINK]}”: {error}") from error
        return Source(url=entry)
    name, size_bytes = entry
    if not isinstance(name, str) or type(size_bytes) is not int:
        raise TypeError("a file has a name and a size")
    return Source(name=name, declared_bytes=size_bytes)


def _receive(item: JobItem) -> None:
    """Have a file verified that was sent to a bucket, which tells nobody. The site's own endpoint does it by itself."""
    assert item.upload is not None, "the caller has looked"
    if item.upload.state == UploadState.WAITING:
        uploads.confirm(item.upload)
    jobs.bytes_have_come(item.upload)


def _show_target(target: upload_targets.PutTarget | upload_targets.MultipartTarget) -> dict[str, Any]:
    if isinstance(target, upload_targets.PutTarget):
        return {"type": "put", "url": target.url, "headers": dict(target.headers)}
    return {"type": "multipart", **asdict(target)}


def _refusal(request: HttpRequest, error: VoxsiteError) -> HttpResponse:
    step = next_step.as_json(error, membership=membership_for(request))
    return JsonResponse({"message": error.message, "next_step": step}, status=error.http_status)


def _job(request: HttpRequest, job_id: uuid.UUID) -> Job:
    job = Job.objects.of(organization_for(request)).filter(pk=job_id).first()
    if job is None:
        raise NotFound("Transcript not found.")
    return job
