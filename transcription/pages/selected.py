"""What people do with several transcripts of the list at once: delete, tag, and download them as one archive."""

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_POST

from accounts.access import organization_for
from accounts.decorators import page
from accounts.errors import InvalidField
from accounts.links import page_url
from accounts.streaming import asynchronously
from transcription import jobs
from transcription.jobs import archives, naming
from transcription.models import Job
from transcription.pages.forms import FormatForm
from transcription.speech.formats import FORMATS

# A page of the list has 25 rows.
MAX_SELECTED = 100


@page
@require_POST
def selected(request: HttpRequest) -> HttpResponseBase:
    """Do with the chosen jobs what the pressed button says. Those that were deleted meanwhile are left out."""
    chosen = _chosen(request)
    act = request.POST.get("act", "")
    if not chosen:
        messages.info(request, "Choose transcripts first. Those that were deleted are not in the list.")
    elif act == "delete":
        for job in chosen:
            jobs.delete(job)
        what = "1 transcript" if len(chosen) == 1 else f"{len(chosen)} transcripts"
        messages.success(request, f"{what} deleted, with the recordings. Charges stay in the ledger.")
    elif act in ("tag", "untag"):
        _file(request, chosen, is_added=act == "tag")
    elif act == "download":
        return _download(request, chosen)
    return _back(request)


def _chosen(request: HttpRequest) -> list[Job]:
    """Return the organization's jobs that the form names, in the order of the form."""
    ids = [found for text in request.POST.getlist("job")[:MAX_SELECTED] if (found := _uuid(text))]
    by_id = Job.objects.of(organization_for(request)).in_bulk(ids)
    return [by_id[job_id] for job_id in dict.fromkeys(ids) if job_id in by_id]


def _file(request: HttpRequest, chosen: list[Job], *, is_added: bool) -> None:
    organization, ids = organization_for(request), [job.pk for job in chosen]
    try:
        name = naming.tag_of(request.POST.get("tag", ""))
        if is_added:
            naming.tag(organization, job_ids=ids, name=name)
            messages.success(request, f"Tag “{name}” added.")
        elif count := naming.untag(organization, job_ids=ids, name=name):
            what = "1 transcript" if count == 1 else f"{count} transcripts"
            messages.success(request, f"Tag “{name}” removed from {what}.")
        else:
            messages.info(request, f"None of these transcripts has the tag “{name}”.")
    except InvalidField as error:
        messages.error(request, error.message)


def _download(request: HttpRequest, chosen: list[Job]) -> HttpResponseBase:
    """Send the transcripts as a ZIP archive, which is made while it is sent."""
    form = FormatForm({}, format_name=request.POST.get("format", ""))
    if form.format_name not in FORMATS or not form.is_valid():
        messages.error(request, "Choose a format.")
        return _back(request)
    ready = [job for job in chosen if job.is_completed]
    if not ready:
        messages.warning(request, "None of these transcripts is ready.")
        return _back(request)
    parts = archives.zip_of(chosen, format_names=[form.format_name], options=form.options)
    sent = jobs.recorded_once_sent(parts, job_ids=[job.pk for job in ready])
    response = StreamingHttpResponse(asynchronously(sent), content_type="application/zip")
    response["Content-Disposition"] = content_disposition_header(True, f"transcripts-{form.format_name}.zip")
    return response


def _back(request: HttpRequest) -> HttpResponseBase:
    """Lead to the list as it was shown."""
    query = request.POST.get("back", "")
    address = page_url(organization_for(request).pk, "transcripts")
    return HttpResponseRedirect(f"{address}?{query}" if query else address)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
