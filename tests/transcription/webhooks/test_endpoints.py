"""Endpoints: registered, changed, turned off and on, deleted."""

import uuid

import pytest
from django.utils import timezone

from accounts import encryption
from accounts.errors import Conflict, InvalidField, NotFound
from accounts.models import AuditEntry
from transcription.models import Delivery, DeliveryState, Fault, WebhookEndpoint
from transcription.webhooks import endpoints, outbox

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint(organization):
    return endpoints.register(
        organization,
        url="https://example.com/hook",
        events=["job.failed", "job.completed"],
        header_name="Authorization",
        header_value="Bearer secret",
    )


def value_of(endpoint):
    endpoint.refresh_from_db()
    return endpoint.header_value and encryption.decrypt(endpoint.header_value)


def change(endpoint, **fields):
    endpoints.change(
        endpoint,
        **{
            "url": "https://example.com/hook",
            "events": ["job.failed"],
            "header_name": "Authorization",
            **fields,
        },
    )
    endpoint.refresh_from_db()


def test_events_are_stored_in_one_order(endpoint):
    assert endpoint.events == ["job.completed", "job.failed"]
    assert endpoint.event_labels == ["Job completed", "Job failed"]


@pytest.mark.parametrize("events", [[], ["job.started"], ["job.failed", "job.started"], ["webhook.test"]])
def test_unknown_events_are_refused(organization, events):
    with pytest.raises(InvalidField) as refusal:
        endpoints.register(organization, url="https://example.com/", events=events)
    assert refusal.value.data["param"] == "events"


def test_organization_has_a_limited_number(organization):
    for _ in range(endpoints.MAX_ENDPOINTS):
        endpoints.register(organization, url="https://example.com/", events=["job.failed"])
    with pytest.raises(Conflict):
        endpoints.register(organization, url="https://example.com/", events=["job.failed"])


def test_endpoint_is_found_by_its_organization_only(endpoint, organization, charlies):
    assert endpoints.find(organization, endpoint_id=endpoint.pk) == endpoint
    for organization_, key in ((charlies, endpoint.pk), (organization, uuid.uuid4())):
        with pytest.raises(NotFound):
            endpoints.find(organization_, endpoint_id=key)


def test_changed_address_is_used_for_what_is_still_to_be_sent(endpoint):
    delivery = outbox.test(endpoint)
    change(endpoint, url="https://new.example/hook", header_name="")
    delivery.refresh_from_db()
    assert (delivery.url, delivery.host) == ("https://new.example/hook", "new.example:443")


def test_value_of_the_header_is_kept_until_a_new_one_is_entered(endpoint):
    change(endpoint, url="https://example.com/other")
    assert value_of(endpoint) == "Bearer secret"
    change(endpoint, header_value="Bearer new")
    assert value_of(endpoint) == "Bearer new"
    change(endpoint, header_name="")
    assert (endpoint.header_name, value_of(endpoint)) == ("", "")


@pytest.mark.parametrize("fields", [{"url": "https://thief.example/hook"}, {"header_name": "X-Key"}])
def test_stored_value_does_not_go_to_another_host_or_into_another_header(endpoint, fields):
    """The attack: somebody who may change endpoints but does not know the secret sends it to their own server."""
    with pytest.raises(InvalidField) as refusal:
        change(endpoint, **fields)
    assert refusal.value.data["param"] == "header_value"


def test_endpoint_that_is_turned_off_drops_what_was_to_be_sent(endpoint):
    delivery = outbox.test(endpoint)
    endpoints.turn_off(endpoint.pk, now=timezone.now(), fault=Fault.GONE)
    endpoint.refresh_from_db()
    delivery.refresh_from_db()
    assert (endpoint.is_on, endpoint.disabled_by) == (False, "gone")
    assert (delivery.state, delivery.fault) == (DeliveryState.FAILED, "endpoint_off")
    endpoints.turn_on(endpoint)
    endpoint.refresh_from_db()
    assert endpoint.is_on


def test_first_reason_to_turn_an_endpoint_off_stands(endpoint):
    endpoints.turn_off(endpoint.pk, now=timezone.now(), fault=Fault.GONE)
    endpoints.turn_off(endpoint.pk, now=timezone.now())
    endpoint.refresh_from_db()
    assert endpoint.disabled_by == "gone"


def test_deleted_endpoint_takes_its_log_with_it(endpoint):
    outbox.test(endpoint)
    endpoints.delete(endpoint)
    assert not WebhookEndpoint.objects.exists()
    assert not Delivery.objects.exists()


def test_log_of_acts_knows_the_host_and_never_the_address(organization):
    """With some receivers the path is the secret."""
    row = endpoints.register(organization, url="https://hooks.example.com/T0/SECRET?key=s3cr3t", events=["job.failed"])
    endpoints.turn_off(row.pk, now=timezone.now())
    endpoints.turn_off(row.pk, now=timezone.now())
    endpoints.turn_on(row)
    endpoints.turn_off(row.pk, now=timezone.now(), fault=Fault.GONE)
    endpoints.delete(row)
    written = AuditEntry.objects.filter(action__startswith="endpoint.").order_by("pk")
    assert [(one.action, one.subject) for one in written] == [
        ("endpoint.created", "hooks.example.com"),
        ("endpoint.off", "hooks.example.com"),
        ("endpoint.on", "hooks.example.com"),
        ("endpoint.off", "hooks.example.com, whose receiver answered that it is gone"),
        ("endpoint.deleted", "hooks.example.com"),
    ]
