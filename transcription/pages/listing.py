"""The list of transcripts, and the newest ones on the overview. Both follow what happens elsewhere.

The page asks for the rows of unfinished jobs, and whether its newest job is still the newest. Only if not, the whole
list is replaced: who reads or tabs through it is not disturbed.
"""

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET
from django_htmx.http import reswap, retarget

from accounts.access import organization_for
from accounts.decorators import page
from accounts.models import Organization
from transcription.models import Job, JobQuerySet, Status

PAGE_ROWS = 25
OVERVIEW_ROWS = 5
FILTERS: dict[str, tuple[str, tuple[Status, ...]]] = {
    "running": ("Running", (Status.UPLOADING, Status.VERIFYING, Status.QUEUED, Status.PROCESSING)),
    "completed": ("Completed", (Status.COMPLETED, Status.COMPLETED_WITH_ERRORS)),
    "failed": ("Failed", (Status.FAILED,)),
    "canceled": ("Canceled", (Status.CANCELED,)),
}


@page
@require_GET
def transcripts(request: HttpRequest) -> HttpResponse:
    return render(request, "transcription/list.html", _list_page(request, limit=PAGE_ROWS))


def latest(request: HttpRequest) -> dict[str, Any]:
    """Return what `transcription/jobs.html` shows of the newest jobs on the overview."""
    return _list_page(request, limit=OVERVIEW_ROWS) | {"is_overview": True}


def _list_page(request: HttpRequest, *, limit: int) -> dict[str, Any]:
    """Return the jobs on one page of the list: those with the status in the address, after its cursor."""
    organization = organization_for(request)
    chosen = request.GET.get("status", "")
    found = _with_status(Job.objects.of(organization).newest_first(), chosen)
    found = _after_cursor(found, organization, cursor=request.GET.get("before", ""))
    rows = list(found[: limit + 1])
    shown = rows[:limit]
    return {
        "jobs": shown,
        "live": [job for job in shown if not job.is_final],
        # The first page also asks for jobs that were made elsewhere: whether this one is still the newest.
        "newest": (str(shown[0].pk) if shown else "none") if "before" not in request.GET else "",
        "filters": [("", "All")] + [(name, label) for name, (label, _) in FILTERS.items()],
        "chosen": chosen if chosen in FILTERS else "",
        "next_cursor": shown[-1].pk if len(rows) > limit else None,
        "is_first_page": "before" not in request.GET,
    }


@page
@require_GET
def live(request: HttpRequest) -> HttpResponse:
    """Return the current rows of jobs that were unfinished, and what the page polls next.

    If the page's newest job is not the newest any more, return its whole list.
    """
    newest = request.GET.get("newest", "")
    organization = organization_for(request)
    if newest:
        found = _with_status(Job.objects.of(organization).newest_first(), request.GET.get("status", ""))
        first = found.values_list("pk", flat=True).first()
        if newest != (str(first) if first else "none"):
            whole = latest(request) if "overview" in request.GET else _list_page(request, limit=PAGE_ROWS)
            response = render(request, "transcription/jobs.html", whole)
            return reswap(retarget(response, "#jobs"), "outerHTML")
    ids = [_uuid(text) for text in request.GET.getlist("id")[:PAGE_ROWS]]
    rows = list(Job.objects.of(organization).filter(pk__in=[pk for pk in ids if pk]))
    chosen = request.GET.get("status", "")
    context = {
        "jobs": rows,
        "live": [job for job in rows if not job.is_final],
        "newest": newest,
        "chosen": chosen if chosen in FILTERS else "",
        "is_overview": "overview" in request.GET,
    }
    return render(request, "transcription/live.html", context)


def _with_status(found: JobQuerySet, chosen: str) -> JobQuerySet:
    return found.filter(status__in=FILTERS[chosen][1]) if chosen in FILTERS else found


def _after_cursor(found: JobQuerySet, organization: Organization, *, cursor: str) -> JobQuerySet:
    """Return the rows after the last job of the previous page. New jobs at the top do not shift the pages."""
    pk = _uuid(cursor)
    last = Job.objects.of(organization).filter(pk=pk).first() if pk else None
    if last is None:
        return found
    return found.older_than(created_at=last.created_at, job_id=last.pk)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
