"""The page of operators: queues, workers, engines, failures, webhooks and money at a glance, and what helps at once.

Its figures are those that Prometheus reads. Staff with the permission to view jobs see it. Staff with the permission to
change jobs may press its buttons.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import django_rq
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods
from redis.exceptions import RedisError
from rq.worker import Worker

from accounts.models import User
from transcription import jobs, recognition
from transcription.jobs import intake
from transcription.models import Delivery, DeliveryState, JobItem, Status
from voxsite import health, metrics
from voxsite.serve.programs import QUEUES

MAY_LOOK, MAY_ACT = "transcription.view_job", "transcription.change_job"
# Rows of each list, the newest first.
SHOWN = 20
# A page must not wait long for an engine that computes.
ENGINE_SECONDS = 2.0


@dataclass(frozen=True)
class WorkerRow:
    """A process that does tasks. task: what it does now, "" for one that waits."""

    name: str
    host: str
    queues: str
    state: str
    task: str
    heartbeat_at: datetime | None


def _pause(request: HttpRequest, user: User) -> str:
    intake.pause(by=user, reason=request.POST.get("reason", "")[:200])
    return "Intake is paused: new recordings are refused with 503. What was taken before goes on."


def _resume(request: HttpRequest, user: User) -> str:
    intake.resume(by=user)
    return "New recordings are taken again."


def _reconcile(request: HttpRequest, user: User) -> str:
    count = jobs.reconcile(now=timezone.now())
    return f"{count} lost recordings were queued again, or ended." if count else "No recording was lost."


ACTIONS: Mapping[str, Callable[[HttpRequest, User], str]] = {
    "pause": _pause,
    "resume": _resume,
    "reconcile": _reconcile,
}


@require_http_methods(["GET", "HEAD", "POST"])
def overview(request: HttpRequest, *, readiness: health.CachedChecks = health.READINESS) -> HttpResponse:
    """Show the page, or do what a button of it says. For others than operators: the sign-in, or 403."""

    def answer(request: HttpRequest) -> HttpResponse:
        user = request.user
        if not isinstance(user, User) or not user.has_perm(MAY_LOOK):
            raise PermissionDenied
        if request.method == "POST":
            act = ACTIONS.get(request.POST.get("action", ""))
            if act is None or not user.has_perm(MAY_ACT):
                raise PermissionDenied
            messages.success(request, act(request, user))
            return redirect("ops")
        return TemplateResponse(request, "admin/operations.html", _context(request, readiness=readiness))

    return admin.site.admin_view(answer)(request)


def _context(request: HttpRequest, *, readiness: health.CachedChecks) -> dict[str, Any]:
    """Return what the page shows: of the work, or with `?of=money` of money and of webhooks that failed."""
    shown = {**admin.site.each_context(request), "title": "Operations"}
    if request.GET.get("of") == "money":
        undelivered = Delivery.objects.filter(state=DeliveryState.FAILED).select_related("organization")
        return shown | {
            "is_of_money": True,
            "figures": list(_figures(readiness, parts=("money",))),
            "undelivered": undelivered.order_by("-created_at")[:SHOWN],
        }
    return shown | {
        "checks": readiness.outcomes(),
        "pause": intake.current() if intake.is_paused() else None,
        "may_act": request.user.has_perm(MAY_ACT),
        "figures": list(_figures(readiness, parts=("queues", "heartbeats", "work", "deliveries", "engines"))),
        "workers": _workers(),
        "engines": recognition.engine_states(timeout_seconds=ENGINE_SECONDS),
        "failed": _failed(),
    }


def _figures(
    readiness: health.CachedChecks, *, parts: Collection[str]
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield what each figure says, and its values by what tells them apart, such as the queue."""
    for family in metrics.SiteCollector(readiness, parts=parts).collect():
        if family.samples:
            yield (
                family.documentation,
                [(", ".join(sample.labels.values()), sample.value) for sample in family.samples],
            )


def _workers() -> list[WorkerRow] | None:
    """Return the workers and importers of all hosts, None while Redis does not answer."""
    try:
        found = Worker.all(connection=django_rq.get_connection(QUEUES[0]))
        return [
            WorkerRow(
                name=worker.name,
                host=worker.hostname or "",
                queues=", ".join(worker.queue_names()),
                state=str(worker.get_state()),
                task=worker.get_current_job_id() or "",
                heartbeat_at=worker.last_heartbeat,
            )
            for worker in sorted(found, key=lambda worker: (worker.hostname or "", worker.name))
        ]
    except RedisError:
        return None


def _failed() -> list[JobItem]:
    """Return the recordings that failed last."""
    failed = JobItem.objects.filter(status=Status.FAILED, finished_at__isnull=False)
    return list(failed.select_related("job__organization").order_by("-finished_at")[:SHOWN])
