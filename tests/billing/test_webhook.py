"""The webhook endpoint: which requests reach the receivers. Hostile ones first."""

import time

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from djstripe.models import Account, Event, WebhookEndpoint, WebhookEventTrigger
from djstripe.signals import WEBHOOK_SIGNALS

from billing import webhook
from billing.sandbox import shapes, webhook_sender

OTHER_SECRET = "whsec_another"


@pytest.fixture
def event():
    """An event without a receiver in billing."""
    return shapes.event(
        "evt_1",
        now=int(time.time()),
        kind="customer.created",
        stripe_object={"object": "customer", "id": "cus_1"},
        version="",
        previous=None,
    )


@pytest.fixture
def heard():
    """The events that a receiver of that type got."""
    events = []

    def listen(sender, event, **kwargs):
        events.append(event)
        if event.data["object"].get("break"):
            raise RuntimeError("the receiver fails")

    signal = WEBHOOK_SIGNALS["customer.created"]
    signal.connect(listen, sender=Event)
    yield events
    signal.disconnect(listen, sender=Event)


def refusals():
    return [trigger.exception for trigger in WebhookEventTrigger.objects.filter(valid=False)]


def test_signed_event_is_stored_and_told(stripe_sandbox, event, heard):
    assert stripe_sandbox.post(event) == 200
    assert [told.id for told in heard] == ["evt_1"]
    assert Event.objects.get().data["object"]["id"] == "cus_1"


def test_same_event_is_told_once_however_often_it_comes(stripe_sandbox, event, heard):
    assert [stripe_sandbox.post(event) for _ in range(3)] == [200, 200, 200]
    assert len(heard) == 1


def test_other_secret_is_refused_with_a_reason(stripe_sandbox, event, heard):
    assert stripe_sandbox.post(event, secret=OTHER_SECRET) == 400
    assert (heard, Event.objects.count()) == ([], 0)
    assert "not of our secret" in refusals()[0]


def test_old_signature_is_refused_with_a_reason(stripe_sandbox, event, heard):
    assert stripe_sandbox.post(event, signed_at=time.time() - webhook.TOLERANCE_SECONDS - 1) == 400
    assert heard == []
    assert "too old" in refusals()[0]


def test_signature_of_the_future_is_refused_with_a_reason(stripe_sandbox, event, heard):
    assert stripe_sandbox.post(event, signed_at=time.time() + webhook.TOLERANCE_SECONDS + 60) == 400
    assert heard == []
    assert "of the future" in refusals()[0]
    assert stripe_sandbox.post(event, signed_at=time.time() + webhook.TOLERANCE_SECONDS / 2) == 200


@pytest.mark.parametrize("header", [None, "", "t=1", "nonsense", "t=x,v1=y", "t=1,v1=é", "t=" + "9" * 400 + ",v1=a"])
def test_header_that_is_no_signature_is_refused(stripe_sandbox, header):
    headers = {} if header is None else {"Stripe-Signature": header}
    response = Client().post("/stripe/webhook", b"{}", content_type="application/json", headers=headers)
    assert response.status_code == 400


def test_bytes_that_are_no_text_are_refused(stripe_sandbox, event):
    _, headers = webhook_sender.sign(event)
    response = Client().post("/stripe/webhook", b"\xff\xfe", content_type="application/json", headers=headers)
    assert response.status_code == 400


def test_changed_body_is_refused(stripe_sandbox, event, heard):
    body, headers = webhook_sender.sign(event)
    changed = body.replace("cus_1", "cus_2")
    response = Client().post("/stripe/webhook", changed, content_type="application/json", headers=headers)
    assert (response.status_code, heard) == (400, [])


def test_debug_does_not_let_the_caller_choose_the_secret(stripe_sandbox, event, heard, settings):
    settings.DEBUG = True
    body, headers = webhook_sender.sign(event, secret=OTHER_SECRET)
    headers["X-Djstripe-Webhook-Secret"] = OTHER_SECRET
    response = Client().post("/stripe/webhook", body, content_type="application/json", headers=headers)
    assert (response.status_code, heard) == (400, [])


def test_djstripes_own_address_is_not_there(stripe_sandbox, event):
    """With DEBUG on, it would accept a secret from a header, and it stores every request."""
    webhook.own_endpoint()
    body, headers = webhook_sender.sign(event)
    for address in (f"/stripe/webhook/{webhook.ENDPOINT_UUID}/", f"/stripe/webhook/{webhook.ENDPOINT_UUID}"):
        response = Client().post(address, body, content_type="application/json", headers=headers)
        assert response.status_code == 404


def test_strangers_cannot_fill_the_database(stripe_sandbox, event):
    for _ in range(5):
        stripe_sandbox.post(event, secret=OTHER_SECRET)
    assert len(refusals()) == 1
    assert WebhookEventTrigger.objects.get().body == ""
    cache.clear()
    stripe_sandbox.post(event, secret=OTHER_SECRET)
    assert len(refusals()) == 2


def test_failing_receiver_leaves_nothing_and_is_told_again(stripe_sandbox, event, heard):
    event["data"]["object"]["break"] = True
    assert stripe_sandbox.post(event) == 500
    assert Event.objects.count() == 0
    assert "the receiver fails" in WebhookEventTrigger.objects.get().exception
    del event["data"]["object"]["break"]
    assert stripe_sandbox.post(event) == 200
    assert Event.objects.count() == 1


def test_first_event_asks_stripe_for_nothing(stripe_sandbox, event):
    """dj-stripe itself would call Stripe for the account and for every object, and answer 500 here."""
    with stripe_sandbox.failing("refused"):
        assert stripe_sandbox.post(event) == 200
    assert Account.objects.get().id == webhook.ACCOUNT_ID


def test_new_secret_counts_from_the_next_start(stripe_sandbox, event, settings):
    assert stripe_sandbox.post(event) == 200
    settings.STRIPE_WEBHOOK_SECRET = OTHER_SECRET
    assert stripe_sandbox.post({**event, "id": "evt_2"}) == 200
    assert WebhookEndpoint.objects.get().secret == OTHER_SECRET


def test_real_key_is_never_stored(stripe_sandbox, event, settings):
    settings.STRIPE_API_KEY = "sk_live_thisisarealkeythatmustnotleak"
    with CaptureQueriesContext(connection) as queries:
        assert stripe_sandbox.post(event) == 200
    assert not any("thisisarealkey" in query["sql"] for query in queries)


def test_site_without_payments_says_so(settings, db):
    settings.STRIPE_API_KEY = settings.STRIPE_WEBHOOK_SECRET = ""
    assert Client().post("/stripe/webhook", b"{}", content_type="application/json").status_code == 503


def test_only_post_is_answered(db):
    assert Client().get("/stripe/webhook").status_code == 405
