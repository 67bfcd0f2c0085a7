"""The webhooks of the OpenAPI document: all events are there, and what is sent has exactly the described fields."""

import json
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from jsonschema import Draft202012Validator

from accounts import api_keys
from billing import ledger, low_balance, spend_alerts, topups
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.models import Delivery
from transcription.webhooks import endpoints
from voxsite import api_reference

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def endpoint(organization):
    return endpoints.register(
        organization, url="https://example.com/hook", events=[str(event) for event in endpoints.EVENTS]
    )


def finish(organization):
    jobs.finish_item(jobs.claim(make_job(organization).items.get().pk), transcript=make_transcript())


def fail(organization):
    jobs.reject_item(jobs.claim(make_job(organization).items.get().pk), error_type="not_audio", message="No audio.")


def cancel(organization):
    jobs.cancel(make_job(organization))


def spend(organization):
    organization.wallet.low_balance_micros = organization.wallet.balance_micros + 1
    organization.wallet.save(update_fields=["low_balance_micros"])
    ledger.release(ledger.reserve(organization, amount_micros=1, reference="x:1"))
    low_balance.announce(now=timezone.now() + timedelta(seconds=1))


def pay(organization):
    with transaction.atomic():
        topups._credit(topups.begin(organization, amount_cents=2000, person=None))


def reach_limit(organization):
    key, _ = api_keys.issue(organization, name="server", by=None, monthly_limit_micros=2)
    spend_alerts.set_percents(organization, api_key=key, percents=[50])
    ledger.settle(ledger.reserve(organization, amount_micros=1, reference="x:2", api_key=key), actual_micros=1)
    spend_alerts.announce(now=timezone.now())


ACTS = {
    "job.completed": finish,
    "job.failed": fail,
    "job.canceled": cancel,
    "balance.low": spend,
    "limit.alert": reach_limit,
    "topup.completed": pay,
}


def test_every_event_that_can_be_subscribed_is_described():
    assert set(api_reference.document()["webhooks"]) == {str(event) for event in endpoints.EVENTS} == set(ACTS)


@pytest.mark.long
@pytest.mark.parametrize("event", ACTS)
def test_what_is_sent_is_what_is_described(organization, event):
    ACTS[event](organization)
    body = json.loads(Delivery.objects.get(event=event).body)
    document = api_reference.document()
    described = document["webhooks"][event]["post"]["requestBody"]["content"]["application/json"]["schema"]
    closed = json.loads(
        json.dumps({**described, "components": document["components"]}).replace(
            '"type": "object", "properties"', '"type": "object", "unevaluatedProperties": false, "properties"'
        )
    )
    assert [error.message for error in Draft202012Validator(closed).iter_errors(body)] == []
    assert body["type"] == event
