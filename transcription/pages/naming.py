"""The name and the tags of one transcript, as people change them on its page."""

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from accounts.access import organization_for
from accounts.decorators import page
from accounts.errors import InvalidField, NotFound
from accounts.links import redirect_to_page
from transcription.jobs import naming
from transcription.models import Job


@page
@require_POST
def rename(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    job = _job(request, job_id)
    try:
        naming.rename(job, name=request.POST.get("name", ""))
    except InvalidField as error:
        messages.error(request, error.message)
    return redirect_to_page(request, "transcript", job.pk)


@page
@require_POST
def tags(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Add the tag in `tag`, or remove the one in `remove`."""
    job = _job(request, job_id)
    removed = request.POST.get("remove", "")
    try:
        if not removed:
            naming.tag(job.organization, job_ids=[job.pk], name=request.POST.get("tag", ""))
        elif not naming.untag(job.organization, job_ids=[job.pk], name=removed):
            messages.info(request, f"This transcript does not have the tag “{naming.tag_of(removed)}”.")
    except InvalidField as error:
        messages.error(request, error.message)
    return redirect_to_page(request, "transcript", job.pk)


def _job(request: HttpRequest, job_id: uuid.UUID) -> Job:
    job = Job.objects.of(organization_for(request)).select_related("organization").filter(pk=job_id).first()
    if job is None:
        raise NotFound("Transcript not found.")
    return job
