"""The list of transcripts with its search, and the newest ones on the overview. Both follow what happens elsewhere.

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
from transcription.jobs import finding
from transcription.models import Job, JobQuerySet, Status
from transcription.pages.finding_forms import FindForm
from transcription.pages.forms import DOWNLOADS

PAGE_ROWS = 25
OVERVIEW_ROWS = 5
FILTERS: dict[str, tuple[str, tuple[Status, ...]]] = {
    "running": ("Running", (Status.UPLOADING, Status.VERIFYING, Status.QUEUED, Status.PROCESSING)),
    "completed": ("Completed", (Status.COMPLETED, Status.COMPLETED_WITH_ERRORS)),
    "failed": ("Failed", (Status.FAILED,)),
    "canceled": ("Canceled", (Status.CANCELED,)),
}
_STATUS_TABS = [("", "All"), *((name, label) for name, (label, _) in FILTERS.items())]


@page
@require_GET
def transcripts(request: HttpRequest) -> HttpResponse:
    return render(request, "transcription/list.html", _list_page(request, limit=PAGE_ROWS))


def latest(request: HttpRequest) -> dict[str, Any]:
    """Return what `transcription/jobs.html` shows of the newest jobs on the overview."""
    jobs = list(Job.objects.of(organization_for(request)).newest_first()[:OVERVIEW_ROWS])
    return _rows_context(jobs) | {"newest": _newest(jobs), "is_overview": True, "poll_query": "overview=1"}


def _list_page(request: HttpRequest, *, limit: int) -> dict[str, Any]:
    """Return the jobs on one page of the list: those that the address asks for, after its cursor."""
    organization = organization_for(request)
    form, chosen = FindForm(request.GET, organization=organization), _status(request)
    cursor = request.GET.get("before", "")
    found = _found(organization, form, status=chosen, cursor=cursor).prefetch_related("tags")
    rows = list(found[: limit + 1])
    shown = rows[:limit]
    # The list follows what happens elsewhere where the newest job stands first, and where it is cheap to ask.
    is_followed = not cursor and not form.chosen
    return _rows_context(shown, form=form) | {
        "form": form,
        "downloads": DOWNLOADS,
        "tag_names": form.tag_names,
        "newest": _newest(shown) if is_followed else "",
        "filters": [(name, label, form.query(status=name)) for name, label in _STATUS_TABS],
        "chosen": chosen,
        "query": form.query(status=chosen),
        "poll_query": form.query(status=chosen),
        "next_cursor": shown[-1].pk if len(rows) > limit else None,
        "is_first_page": not cursor,
    }


@page
@require_GET
def live(request: HttpRequest) -> HttpResponse:
    """Return the current rows of jobs that were unfinished, and what the page polls next.

    If the page's newest job is not the newest any more, return its whole list.
    """
    newest = request.GET.get("newest", "")
    organization = organization_for(request)
    is_overview = "overview" in request.GET
    form, chosen = FindForm(request.GET, organization=organization), _status(request)
    if newest:
        first = _with_status(Job.objects.of(organization).newest_first(), chosen).values_list("pk", flat=True).first()
        if newest != (str(first) if first else "none"):
            whole = latest(request) if is_overview else _list_page(request, limit=PAGE_ROWS)
            response = render(request, "transcription/jobs.html", whole)
            return reswap(retarget(response, "#jobs"), "outerHTML")
    ids = [_uuid(text) for text in request.GET.getlist("id")[:PAGE_ROWS]]
    found = Job.objects.of(organization).filter(pk__in=[pk for pk in ids if pk])
    rows = list(found if is_overview else found.prefetch_related("tags"))
    context = _rows_context(rows, form=None if is_overview else form) | {
        "newest": newest,
        "poll_query": "overview=1" if is_overview else form.query(status=chosen),
        "is_overview": is_overview,
    }
    return render(request, "transcription/live.html", context)


def _rows_context(shown: list[Job], *, form: FindForm | None = None) -> dict[str, Any]:
    """Return what the rows of these jobs show. form: by what they were found, if by anything."""
    phrases = form.cleaned_data.get("q", []) if form is not None and form.is_valid() else []
    return {
        "jobs": shown,
        "live": [job for job in shown if not job.is_final],
        "phrases": phrases,
        "q": form.data.get("q", "") if form is not None else "",
        "excerpts": finding.excerpts(shown, phrases=phrases),
        # On the overview rows are neither chosen nor tagged.
        "is_selectable": form is not None,
    }


def _newest(shown: list[Job]) -> str:
    """Return what the page asks with: whether this job, or none, is still the newest."""
    return str(shown[0].pk) if shown else "none"


def _status(request: HttpRequest) -> str:
    chosen = request.GET.get("status", "")
    return chosen if chosen in FILTERS else ""


def _found(organization: Organization, form: FindForm, *, status: str, cursor: str) -> JobQuerySet:
    if not form.is_valid():
        return Job.objects.none()
    found = finding.find(organization, form.wanted(statuses=FILTERS[status][1] if status else ()))
    pk = _uuid(cursor)
    last = Job.objects.of(organization).filter(pk=pk).first() if pk else None
    return finding.after(found, last, sort=form.order) if last else found


def _with_status(found: JobQuerySet, chosen: str) -> JobQuerySet:
    return found.filter(status__in=FILTERS[chosen][1]) if chosen in FILTERS else found


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
