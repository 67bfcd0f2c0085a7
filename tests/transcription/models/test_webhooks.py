"""What the database refuses, whatever code writes."""

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from transcription.models import Delivery, DeliveryAttempt, DeliveryState, EventType, WebhookEndpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def delivery(organization):
    return Delivery.objects.create(
        organization=organization,
        event=EventType.TEST,
        url="https://example.com/",
        host="example.com:443",
        body="{}",
        next_attempt_at=timezone.now(),
    )


def refused(act, *, constraint):
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        act()


def test_pending_delivery_has_a_next_attempt(delivery):
    rows = Delivery.objects.filter(pk=delivery.pk)
    name = "pending_delivery_has_a_next_attempt"
    refused(lambda: rows.update(next_attempt_at=None), constraint=name)
    refused(lambda: rows.update(state=DeliveryState.FAILED), constraint=name)


def test_delivered_delivery_has_its_time(delivery):
    rows = Delivery.objects.filter(pk=delivery.pk)
    refused(
        lambda: rows.update(state=DeliveryState.DELIVERED, next_attempt_at=None),
        constraint="delivered_delivery_has_its_time",
    )


def test_attempt_has_one_row(delivery):
    def insert():
        DeliveryAttempt.objects.create(delivery=delivery, number=1, url=delivery.url, started_at=timezone.now())

    insert()
    # SQLite names the columns, PostgreSQL the constraint.
    refused(insert, constraint="one_row_per_webhook_attempt|number")


def test_header_of_an_endpoint_has_a_name_and_a_value(organization):
    refused(
        lambda: WebhookEndpoint.objects.create(organization=organization, url="https://a.example/", header_name="X"),
        constraint="webhook_header_is_whole",
    )


def test_ids_of_messages_are_long_random_and_without_a_full_stop(delivery):
    assert delivery.pk.startswith("msg_")
    assert len(delivery.pk) == 36
    assert "." not in delivery.pk
