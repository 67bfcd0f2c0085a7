"""What Prometheus reads at /metrics: the counters of this host, and the state of the whole site.

Counters (`request_metrics`, `apex.upstream`) are of the web processes of one host (`shared_metrics`), and so are those
of engines: Prometheus adds those of all hosts up. The gauges of `SiteCollector` come from the database and Redis, so
that every host shows the same; take `max` of them.
"""

import hmac
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta

import django_rq
from django.conf import settings
from django.db.models import Count, Min, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis

from accounts.models import WaitingMail
from apex.models import Completion, State
from billing import months
from billing.models import Freeze, Hold, HoldState, MonthlySpend, UnmatchedEvent
from transcription import recognition
from transcription.models import Delivery, JobItem, Status
from voxsite import health, shared_metrics
from voxsite.serve.programs import IMPORTS_QUEUE, QUEUES

logger = logging.getLogger(__name__)

# What is read apart, so that one part that is away hides no other.
PARTS = ("checks", "queues", "heartbeats", "work", "deliveries", "money", "engines")
# An engine that computes answers after its clip. Prometheus itself waits for 10 s.
ENGINE_SECONDS = 3.0


def metrics(
    request: HttpRequest, *, readiness: health.CachedChecks = health.READINESS, parts: Collection[str] = PARTS
) -> HttpResponse:
    """Return all metrics as text, to whoever has VOXSITE_METRICS_TOKEN as bearer token. 404 for all others."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    token = settings.METRICS_TOKEN
    if not token or not hmac.compare_digest(given.encode(), token.encode()):
        raise Http404
    site = CollectorRegistry()
    site.register(SiteCollector(readiness, parts=parts))
    text = shared_metrics.text() + generate_latest(site)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


class SiteCollector(Collector):
    """Gauges of the whole site. A part that does not answer leaves its gauges out and is counted as an error."""

    def __init__(self, readiness: health.CachedChecks, *, parts: Collection[str] = PARTS) -> None:
        self._readiness = readiness
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        errors = GaugeMetricFamily("voxsite_scrape_errors", "1 if this part could not be read.", labels=["part"])
        readers = {"checks": self._checks, **_READERS}
        for part in self._parts:
            try:
                yield from list(readers[part]())
                errors.add_metric([part], 0)
            except Exception:  # One part that is away must not hide the others.
                logger.exception("The metrics of %s could not be read.", part)
                errors.add_metric([part], 1)
        yield errors

    def _checks(self) -> Iterable[Metric]:
        up = GaugeMetricFamily(
            "voxsite_up", "1 if this part of the site works, as /health/ready has it.", labels=["part"]
        )
        for part, outcome in self._readiness.outcomes().items():
            up.add_metric([part], outcome == "ok")
        return [up]


def _queues() -> Iterable[Metric]:
    length = GaugeMetricFamily("voxsite_queue_length", "Tasks that wait in this queue.", labels=["queue"])
    wait = GaugeMetricFamily(
        "voxsite_queue_wait_seconds", "How long the first task of this queue has waited. 0 if none waits.",
        labels=["queue"],
    )  # fmt: skip
    for name in (*QUEUES, IMPORTS_QUEUE):
        queue = django_rq.get_queue(name)
        length.add_metric([name], queue.count)
        first = queue.get_jobs(0, 1)
        enqueued_at = first[0].enqueued_at if first else None
        waited = 0.0 if enqueued_at is None else (timezone.now() - enqueued_at).total_seconds()
        wait.add_metric([name], max(0.0, waited))
    return [length, wait]


def _heartbeats() -> Iterable[Metric]:
    age = GaugeMetricFamily(
        "voxsite_heartbeat_age_seconds", "Age of the last heartbeat of any process of this kind.", labels=["process"]
    )
    with Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1) as client:
        for process, key in settings.HEARTBEAT_KEYS.items():
            written = client.get(key)
            if written is not None:
                age.add_metric([process], max(0.0, time.time() - float(written)))
    return [age]


def _work() -> Iterable[Metric]:
    items = GaugeMetricFamily(
        "voxsite_items", "Recordings that a living worker has, by what it does.", labels=["status"]
    )
    running = (Status.PROCESSING, Status.VERIFYING)
    # By the index of their heartbeats: a long queue is not read.
    alive_since = timezone.now() - timedelta(seconds=settings.SILENT_WORKER_SECONDS)
    alive = JobItem.objects.filter(status__in=running, touched_at__gte=alive_since).order_by()
    counts = dict(alive.values_list("status").annotate(count=Count("pk")))
    for status in running:
        items.add_metric([status.value], counts.get(status.value, 0))
    completions = Completion.objects.filter(state=State.RUNNING).count()
    return [items, _gauge("voxsite_completions_running", "Chat completions that have not ended.", completions)]


def _deliveries() -> Iterable[Metric]:
    waiting = Delivery.objects.filter(next_attempt_at__isnull=False).aggregate(
        count=Count("pk"), oldest=Min("next_attempt_at")
    )
    late = 0.0 if waiting["oldest"] is None else max(0.0, (timezone.now() - waiting["oldest"]).total_seconds())
    return [
        _gauge(
            "voxsite_webhooks_waiting",
            "Webhooks that are still to be sent, also those of a later time.",
            waiting["count"],
        ),
        _gauge("voxsite_webhooks_late_seconds", "How late the webhook is that should have been sent first.", late),
        _gauge("voxsite_mails_waiting", "Mails that wait for the mail server.", WaitingMail.objects.count()),
    ]


def _money() -> Iterable[Metric]:
    month = months.month_of(timezone.now())
    spent = MonthlySpend.objects.filter(api_key=None, month=month).aggregate(sum=Sum("spent_micros"))
    held = Hold.objects.filter(state=HoldState.OPEN).aggregate(count=Count("pk"), sum=Sum("amount_micros"))
    frozen = Freeze.objects.filter(lifted_at=None).count()
    unmatched = UnmatchedEvent.objects.filter(resolved_at=None).count()
    return [
        _gauge(
            "voxsite_spent_this_month_micros",
            "Charges and open holds of this calendar month (UTC), in millionths of a dollar.",
            spent["sum"] or 0,
        ),
        _gauge("voxsite_holds_open", "Holds that have not ended.", held["count"]),
        _gauge("voxsite_held_micros", "Sum of all open holds, in millionths of a dollar.", held["sum"] or 0),
        _gauge("voxsite_freezes", "Freezes that are in force, such as for disputes.", frozen),
        _gauge("voxsite_unmatched_events", "What Stripe reported and no operator has settled.", unmatched),
    ]


def _engines() -> Iterable[Metric]:
    """What the engine processes of this host have done since each of them started; silent ones are left out."""
    labels = ["engine"]
    waiting = GaugeMetricFamily("voxsite_engine_queue_length", "Clips that wait at this engine.", labels=labels)
    clips = CounterMetricFamily("voxsite_engine_clips", "Clips that this engine has recognized.", labels=labels)
    heard = CounterMetricFamily("voxsite_engine_audio_seconds", "Seconds of sound in these clips.", labels=labels)
    busy = CounterMetricFamily("voxsite_engine_busy_seconds", "Seconds in which it computed.", labels=labels)
    batches = CounterMetricFamily("voxsite_engine_batches", "Batches of clips.", labels=labels)
    failures = CounterMetricFamily("voxsite_engine_failures", "Clips that failed.", labels=labels)
    reports = recognition.engine_reports(timeout_seconds=ENGINE_SECONDS).values()
    for number, report in enumerate(reports, start=1):
        if report is not None:
            label = [str(number)]
            waiting.add_metric(label, report["queued"])
            clips.add_metric(label, report["clips"])
            heard.add_metric(label, report["audio_ms"] / 1000)
            busy.add_metric(label, report["busy_ms"] / 1000)
            batches.add_metric(label, sum(report["batch_sizes"].values()))
            failures.add_metric(label, report["failures"])
    return [waiting, clips, heard, busy, batches, failures]


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)


_READERS: dict[str, Callable[[], Iterable[Metric]]] = {
    "queues": _queues,
    "heartbeats": _heartbeats,
    "work": _work,
    "deliveries": _deliveries,
    "money": _money,
    "engines": _engines,
}
