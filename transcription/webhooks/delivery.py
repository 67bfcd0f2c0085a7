"""The life of a delivery: claimed, sent (`sending`), recorded, tried again by the schedule or by hand.

A claim counts `attempt` up and puts the next attempt behind a lease, so that a deliverer that dies leaves a row that
falls due by itself: every message is sent at least once, each time with the same id. A result names its attempt. When
another deliverer has claimed the row since, the result stands in the log and changes nothing else.
"""

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F, Q

from accounts.errors import Conflict
from accounts.models import Organization
from transcription.models import Delivery, DeliveryAttempt, DeliveryState, Fault, Job, WebhookEndpoint
from transcription.webhooks import endpoints, keys, schedule, signatures
from transcription.webhooks.lanes import Lanes, Receiver

logger = logging.getLogger(__name__)

# Longer than a request may take with all around it (`sending.TOTAL_SECONDS`). A process that has recorded nothing by
# then is dead.
LEASE = timedelta(seconds=60)
# Rows of one look, and of one claim.
LOOK_BATCH_SIZE = 200
CLAIM_BATCH_SIZE = 100
DELETE_BATCH_SIZE = 500
HIDDEN = "(hidden)"
# What of a request is shown in the log: nothing that the customer added.
SHOWN_HEADERS = frozenset({"content-type"})
SHOWN_PREFIXES = ("webhook-", "x-transcribeapi-")
GONE_STATUS = 410
# What a claim reads of a row and of those beside it. A job has columns of JSON, which nobody needs here.
READ = (
    "attempt",
    "url",
    "body",
    "signer",
    "endpoint",
    "job",
    "endpoint__header_name",
    "endpoint__header_value",
    "job__webhook_header_name",
    "job__webhook_header_value",
    "job__trace_context",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One attempt that this process has claimed and must send now.

    headers: with the customer's own, whose value is still encrypted. own_header: its name, empty for none.
    """

    delivery_id: str
    attempt: int
    receiver: Receiver
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    own_header: str = ""
    trace_context: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a request. status: None when no answer came. detail: a sentence for the customer."""

    request: Request
    finished_at: datetime
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    fault: Fault | None = None
    detail: str = ""


def claim(*, now: datetime, lanes: Lanes, look_size: int = LOOK_BATCH_SIZE) -> list[Request]:
    """Claim what is due and has room in the lanes, oldest first. Each request must be sent and recorded.

    look_size: how many rows one look reads.
    """
    chosen = _choose(now=now, lanes=lanes, look_size=look_size)
    if not chosen:
        return []
    requests: list[Request] = []
    try:
        key = keys.signing_key(now=now)
        requests = _claim_each(chosen, key=key, now=now)
    finally:
        sent = {request.delivery_id for request in requests}
        for pk, receiver in chosen.items():
            if pk not in sent:
                lanes.leave(receiver)
    return requests


def record(result: Result, *, chance: Callable[[], float] = random.random) -> None:
    """Write down what came of a request, and when a delivery that failed is tried again. Twice is as good as once.

    chance: returns a number from 0 to 1, which spreads the load.
    """
    with transaction.atomic():
        _record(result, chance=chance)


def send_again(delivery: Delivery, *, now: datetime) -> None:
    """Send a delivery again, whatever became of it, now and then by the schedule. Its id stays the same.

    Raises Conflict if its endpoint is off, or its address would not be accepted any more.
    """
    with transaction.atomic():
        if delivery.endpoint_id is not None:
            endpoint = WebhookEndpoint.objects.select_for_update().get(pk=delivery.endpoint_id)
            if not endpoint.is_on:
                raise Conflict("The endpoint is off. Turn it on first.")
        Delivery.objects.filter(pk=delivery.pk).update(
            state=DeliveryState.PENDING, step=0, next_attempt_at=now, fault=""
        )


def give_up_all(organization: Organization) -> None:
    """Give up what is still to be sent to the receivers of an organization. A request that runs is not stopped."""
    Delivery.objects.of(organization).filter(state=DeliveryState.PENDING).update(
        state=DeliveryState.FAILED, next_attempt_at=None, fault=Fault.ENDPOINT_OFF
    )


def was_lost(job: Job) -> bool:
    """Tell whether the job's own webhook was given up: its receiver never accepted it."""
    return (
        job.webhook_was_lost
        or Delivery.objects.filter(job=job, endpoint__isnull=True, state=DeliveryState.FAILED).exists()
    )


def sweep(*, now: datetime, older_than: timedelta, batch_size: int = DELETE_BATCH_SIZE) -> int:
    """Delete deliveries that ended, and are older. Returns how many. Jobs keep whether their webhook was given up."""
    old = Delivery.objects.exclude(state=DeliveryState.PENDING).filter(created_at__lt=now - older_than)
    deleted = 0
    while batch := list(old.order_by("created_at").values_list("pk", flat=True)[:batch_size]):
        lost = Delivery.objects.filter(pk__in=batch, endpoint__isnull=True, state=DeliveryState.FAILED)
        Job.objects.filter(pk__in=list(lost.values_list("job", flat=True))).update(webhook_was_lost=True)
        Delivery.objects.filter(pk__in=batch).delete()
        deleted += len(batch)
    return deleted


def _claim_each(chosen: Mapping[str, Receiver], *, key: signatures.PrivateKey, now: datetime) -> list[Request]:
    """Claim deliveries all at once, or one by one if that fails: one broken row must not hold all others.

    One that fails by itself is put off by the schedule, and given up at its end.
    """
    try:
        return _claim(chosen, key=key, now=now)
    except (OperationalError, InterfaceError):
        raise  # The database is away.
    except Exception:
        if len(chosen) > 1:
            logger.exception("%s webhooks could not be claimed together.", len(chosen))
            alone = ({pk: receiver} for pk, receiver in chosen.items())
            return [request for one in alone for request in _claim_each(one, key=key, now=now)]
        (pk,) = chosen
        logger.exception("The webhook %s could not be claimed; it is tried again by the schedule.", pk)
    try:
        _put_off(pk, now=now)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("The webhook %s could not be put off.", pk)
    return []


def _claim(chosen: Mapping[str, Receiver], *, key: signatures.PrivateKey, now: datetime) -> list[Request]:
    with transaction.atomic():
        # Another deliverer may be claiming the same rows: each row is locked by one of them. SQLite has one writer.
        due = Delivery.objects.filter(pk__in=list(chosen), next_attempt_at__lte=now)
        locked = list(
            due.select_for_update(of=("self",), skip_locked=True)
            .select_related("endpoint", "job")
            .only(*READ)
            .order_by("next_attempt_at", "pk")
        )
        taken = [delivery.pk for delivery in locked]
        Delivery.objects.filter(pk__in=taken).update(
            attempt=F("attempt") + 1, step=F("step") + 1, next_attempt_at=now + LEASE
        )
        DeliveryAttempt.objects.filter(delivery__in=taken, finished_at__isnull=True).update(
            finished_at=now, fault=Fault.INTERRUPTED, fault_detail="The server was restarted during this attempt."
        )
        requests = [_request(delivery, key=key, now=now, receiver=chosen[delivery.pk]) for delivery in locked]
        DeliveryAttempt.objects.bulk_create([_attempt_of(request, at=now) for request in requests])
        return requests


def _put_off(delivery_id: str, *, now: datetime) -> None:
    """Count an attempt that did not come to a request, without reading what may be broken."""
    with transaction.atomic():
        due = Delivery.objects.select_for_update().filter(pk=delivery_id, next_attempt_at__lte=now)
        step = due.values_list("step", flat=True).first()
        if step is None:
            return  # Another deliverer has it, or it was deleted.
        pause = schedule.pause_after(step + 1, chance=0.5)
        Delivery.objects.filter(pk=delivery_id).update(
            state=DeliveryState.PENDING if pause else DeliveryState.FAILED,
            next_attempt_at=now + pause if pause else None,
            attempt=F("attempt") + 1,
            step=step + 1,
            fault=Fault.INTERRUPTED,
        )


def _choose(*, now: datetime, lanes: Lanes, look_size: int) -> dict[str, Receiver]:
    """Return the receivers of due deliveries by id, each counted in the lanes.

    A look skips receivers without room, so that thousands of messages to a dead one do not hide the others.
    """
    chosen: dict[str, Receiver] = {}
    while lanes.has_room() and len(chosen) < CLAIM_BATCH_SIZE:
        due = Delivery.objects.filter(next_attempt_at__lte=now).exclude(pk__in=list(chosen))
        if full := lanes.full_organizations():
            due = due.exclude(organization_id__in=full)
        for receiver in lanes.full_receivers():
            due = due.exclude(Q(organization_id=receiver.organization, host=receiver.host))
        rows = list(due.order_by("next_attempt_at").values_list("pk", "organization_id", "host")[:look_size])
        for pk, organization_id, host in rows:
            receiver = Receiver(organization_id, host)
            if len(chosen) < CLAIM_BATCH_SIZE and lanes.enter(receiver):
                chosen[pk] = receiver
        if len(rows) < look_size:
            break
    return chosen


def _request(delivery: Delivery, *, key: signatures.PrivateKey, now: datetime, receiver: Receiver) -> Request:
    """delivery: as it was read before this claim."""
    body = delivery.body.encode()
    message = signatures.Message(id=delivery.pk, sent_at=int(now.timestamp()), body=body)
    headers = {"Content-Type": "application/json", **signatures.SIGNERS[delivery.signer](message, key=key)}
    name, value = _own_header(delivery)
    if name:
        headers[name] = value
    return Request(
        delivery_id=delivery.pk,
        attempt=delivery.attempt + 1,
        receiver=receiver,
        url=delivery.url,
        headers=headers,
        body=body,
        own_header=name,
        trace_context="" if delivery.job is None else delivery.job.trace_context,
    )


def _own_header(delivery: Delivery) -> tuple[str, str]:
    if delivery.endpoint is not None:
        return delivery.endpoint.header_name, delivery.endpoint.header_value
    if delivery.job is not None:
        return delivery.job.webhook_header_name, delivery.job.webhook_header_value
    return "", ""


def _attempt_of(request: Request, *, at: datetime) -> DeliveryAttempt:
    shown = {
        name: value if name.lower() in SHOWN_HEADERS or name.lower().startswith(SHOWN_PREFIXES) else HIDDEN
        for name, value in request.headers.items()
    }
    return DeliveryAttempt(
        delivery_id=request.delivery_id,
        number=request.attempt,
        url=request.url,
        started_at=at,
        request_headers=shown,
    )


def _record(result: Result, *, chance: Callable[[], float]) -> None:
    request = result.request
    DeliveryAttempt.objects.filter(delivery=request.delivery_id, number=request.attempt).update(
        finished_at=result.finished_at,
        status=result.status,
        response_headers=result.headers,
        response_body=result.body,
        fault=result.fault or "",
        fault_detail=result.detail[:300],
    )
    delivery = (
        Delivery.objects.select_for_update(of=("self",))
        .filter(pk=request.delivery_id, attempt=request.attempt, state=DeliveryState.PENDING)
        .first()
    )
    if delivery is None:
        return  # Deleted, ended by hand, or another deliverer has it.
    delivery.last_status = result.status
    delivery.fault = result.fault or ""
    delivery.next_attempt_at = None
    if result.fault is None:
        delivery.state = DeliveryState.DELIVERED
        delivery.delivered_at = delivery.delivered_at or result.finished_at
    else:
        pause = schedule.pause_after(delivery.step, chance=chance())
        if result.fault == Fault.GONE or pause is None:
            delivery.state = DeliveryState.FAILED
        else:
            delivery.next_attempt_at = result.finished_at + pause
    delivery.save(
        update_fields=["state", "next_attempt_at", "delivered_at", "last_status", "fault"],
    )
    if result.fault == Fault.GONE and delivery.endpoint_id is not None:
        endpoints.turn_off(delivery.endpoint_id, now=result.finished_at, fault=Fault.GONE)
