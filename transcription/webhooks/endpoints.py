"""The endpoints of an organization: registered, changed, turned off and on, deleted."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

from django.db import transaction

from accounts import audit_log
from accounts.errors import Conflict, InvalidField, NotFound
from accounts.models import AuditAction, Organization
from transcription.models import Delivery, DeliveryState, EventType, Fault, WebhookEndpoint
from transcription.webhooks import targets
from transcription.webhooks.targets import Names, Target

MAX_ENDPOINTS = 20
# What an endpoint can be registered for.
EVENTS = tuple(event for event in EventType if event is not EventType.TEST)
NAMES = Names(url="url", header_name="header_name", header_value="header_value")


def register(
    organization: Organization,
    *,
    url: str,
    events: Sequence[str],
    description: str = "",
    header_name: str = "",
    header_value: str = "",
) -> WebhookEndpoint:
    """Register an address for events. Raises InvalidField, and Conflict when the organization has too many."""
    target = targets.read(url=url, header_name=header_name, header_value=header_value, names=NAMES)
    with transaction.atomic():
        # The lock keeps two at once from passing the limit together.
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        if WebhookEndpoint.objects.filter(organization=organization).count() >= MAX_ENDPOINTS:
            raise Conflict(f"An organization can have {MAX_ENDPOINTS} endpoints. Delete one first.")
        audit_log.record(organization, AuditAction.ENDPOINT_CREATED, _host(target.url))
        return WebhookEndpoint.objects.create(
            organization=organization,
            url=target.url,
            description=description.strip()[:100],
            events=_known(events),
            header_name=target.header_name,
            header_value=target.header_value,
        )


def find(organization: Organization, *, endpoint_id: uuid.UUID) -> WebhookEndpoint:
    """Return an organization's endpoint. Raises NotFound."""
    endpoint = WebhookEndpoint.objects.filter(organization=organization, pk=endpoint_id).first()
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    return endpoint


def change(
    endpoint: WebhookEndpoint,
    *,
    url: str,
    events: Sequence[str],
    description: str = "",
    header_name: str = "",
    header_value: str = "",
) -> None:
    """Change an endpoint. What is still to be sent goes to the new address.

    An empty header_value keeps the one that is stored, as long as the header has the same name and the URL the same
    host: it must not be sent to somebody else. Raises InvalidField.
    """
    with transaction.atomic():
        row = WebhookEndpoint.objects.select_for_update().get(pk=endpoint.pk)
        target = _changed_target(row, url=url, header_name=header_name, header_value=header_value)
        row.url, row.events, row.description = target.url, _known(events), description.strip()[:100]
        row.header_name, row.header_value = target.header_name, target.header_value
        row.save(update_fields=["url", "events", "description", "header_name", "header_value"])
        audit_log.record(row.organization, AuditAction.ENDPOINT_CHANGED, _host(row.url))
        Delivery.objects.filter(endpoint=row, state=DeliveryState.PENDING).update(url=target.url, host=target.host)


def turn_off(endpoint_id: uuid.UUID, *, now: datetime, fault: Fault | None = None) -> None:
    """Send an endpoint nothing any more. What was still to be sent fails. fault: GONE if its receiver asked for it."""
    with transaction.atomic():
        turned_off = WebhookEndpoint.objects.filter(pk=endpoint_id, disabled_at__isnull=True).update(
            disabled_at=now, disabled_by=fault or ""
        )
        if turned_off:
            endpoint = WebhookEndpoint.objects.select_related("organization").get(pk=endpoint_id)
            told = f"{_host(endpoint.url)}{', whose receiver answered that it is gone' if fault else ''}"
            audit_log.record(endpoint.organization, AuditAction.ENDPOINT_OFF, told)
        Delivery.objects.filter(endpoint=endpoint_id, state=DeliveryState.PENDING).update(
            state=DeliveryState.FAILED, next_attempt_at=None, fault=Fault.ENDPOINT_OFF
        )


def turn_on(endpoint: WebhookEndpoint) -> None:
    """Send an endpoint what happens from now on. What it missed can be sent again by hand."""
    with transaction.atomic():
        found = WebhookEndpoint.objects.filter(pk=endpoint.pk, disabled_at__isnull=False)
        if found.update(disabled_at=None, disabled_by=""):
            audit_log.record(endpoint.organization, AuditAction.ENDPOINT_ON, _host(endpoint.url))


def delete(endpoint: WebhookEndpoint) -> None:
    """Delete an endpoint with its log."""
    with transaction.atomic():
        if WebhookEndpoint.objects.filter(pk=endpoint.pk).delete()[0]:
            audit_log.record(endpoint.organization, AuditAction.ENDPOINT_DELETED, _host(endpoint.url))


def _host(url: str) -> str:
    """Return what the log of acts may know of an address. With some receivers the rest of it is the secret."""
    return urlsplit(url).hostname or ""


def _changed_target(row: WebhookEndpoint, *, url: str, header_name: str, header_value: str) -> Target:
    keeps_value = bool(header_name.strip()) and not header_value.strip() and header_name.strip() == row.header_name
    target = targets.read(
        url=url, header_name="" if keeps_value else header_name, header_value=header_value, names=NAMES
    )
    if not keeps_value:
        return target
    if target.host != targets.host_in(row.url):
        raise InvalidField(NAMES.header_value, "Enter the value again for the new host.")
    return Target(url=target.url, host=target.host, header_name=row.header_name, header_value=row.header_value)


def _known(events: Sequence[str]) -> list[str]:
    chosen = [str(event) for event in EVENTS if event in events]
    if not chosen or len(chosen) != len(set(events)):
        raise InvalidField("events", "Choose one or more of the events.")
    return chosen
