"""Writes down what is to be told, in the transaction of what it tells. So nothing is told that did not happen.

The deliverer finds the rows (`delivery`).
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from transcription import faces
from transcription.models import Delivery, EventType, Job, Status, WebhookEndpoint
from transcription.webhooks import payloads, schedule, targets

EVENT_BY_STATUS: Mapping[str, EventType] = {
    Status.COMPLETED: EventType.JOB_COMPLETED,
    Status.COMPLETED_WITH_ERRORS: EventType.JOB_COMPLETED,
    Status.FAILED: EventType.JOB_FAILED,
    Status.CANCELED: EventType.JOB_CANCELED,
}


def announce_job(job: Job) -> None:
    """Tell the webhook of a job, and its organization's endpoints, that it has ended. A closed one is told nothing.

    The job's own webhook speaks as the face through which the job came. Endpoints always speak as the native API.
    """
    assert transaction.get_connection().in_atomic_block, "a job ends in a transaction"
    event = EVENT_BY_STATUS[job.status]
    deliveries = []
    if job.webhook_url and not job.organization.is_closed:
        face = next((face for face in faces.FACES if face.name == job.dialect and face.show_webhook), faces.NATIVE)
        body = _text(_shown(job, event=event, face=face))
        deliveries.append(
            Delivery(
                organization_id=job.organization_id,
                job=job,
                event=event,
                signer=face.webhook_signer,
                url=job.webhook_url,
                host=targets.host_in(job.webhook_url),
                body=body,
                next_attempt_at=timezone.now(),
            )
        )
    if endpoints := _subscribed(job.organization_id, event):
        body = _text(_shown(job, event=event, face=faces.NATIVE))
        deliveries += [_to(endpoint, event=event, body=body, job=job) for endpoint in endpoints]
    if deliveries:
        Delivery.objects.bulk_create(deliveries)


def announce(organization_id: UUID, *, event: EventType, at: datetime, data: Mapping[str, Any]) -> None:
    """Tell an organization's endpoints of something that is not about a job."""
    assert transaction.get_connection().in_atomic_block, "what is told happens in a transaction"
    if endpoints := _subscribed(organization_id, event):
        body = _text(payloads.envelope(event=event, at=at, organization_id=organization_id, data=data))
        Delivery.objects.bulk_create([_to(endpoint, event=event, body=body) for endpoint in endpoints])


def test(endpoint: WebhookEndpoint) -> Delivery:
    """Send an endpoint a test. It is tried once."""
    now = timezone.now()
    body = payloads.envelope(
        event=EventType.TEST,
        at=now,
        organization_id=endpoint.organization_id,
        data={"message": "This is a test. Nothing happened.", "endpoint_id": str(endpoint.pk)},
    )
    delivery = _to(endpoint, event=EventType.TEST, body=_text(body))
    delivery.step = len(schedule.PAUSES)
    delivery.save(force_insert=True)
    return delivery


def _subscribed(organization_id: UUID, event: EventType) -> list[WebhookEndpoint]:
    on = WebhookEndpoint.objects.filter(
        organization_id=organization_id, disabled_at__isnull=True, organization__closed_at__isnull=True
    )
    # SQLite cannot look into the list.
    return [endpoint for endpoint in on.order_by("created_at") if event in endpoint.events]


def _to(endpoint: WebhookEndpoint, *, event: EventType, body: str, job: Job | None = None) -> Delivery:
    return Delivery(
        organization_id=endpoint.organization_id,
        endpoint=endpoint,
        job=job,
        event=event,
        url=endpoint.url,
        host=targets.host_in(endpoint.url),
        body=body,
        next_attempt_at=timezone.now(),
    )


def _shown(job: Job, *, event: EventType, face: faces.Face) -> Mapping[str, Any]:
    shown: Mapping[str, Any] = face.load(face.show_webhook)(job, event=str(event), site_url=settings.SITE_URL)
    return shown


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
