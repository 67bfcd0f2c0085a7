"""Webhooks about money: told once for each occasion, in the transaction of what happened."""

import json
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from accounts import api_keys
from billing import ledger, low_balance, spend_alerts, topups
from billing.models import TopUp
from tests.billing.conftest import fund
from transcription.models import Delivery
from transcription.webhooks import endpoints

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def endpoint(organization):
    return endpoints.register(
        organization,
        url="https://example.com/hook",
        events=["balance.low", "limit.alert", "topup.completed", "job.failed"],
    )


def told():
    return [json.loads(body) for body in Delivery.objects.order_by("created_at").values_list("body", flat=True)]


def announce():
    """Look twice, as two clocks do."""
    for _ in range(2):
        low_balance.announce(now=timezone.now() + timedelta(seconds=1))


@pytest.mark.long
def test_paid_top_up_is_told_once(organization, alice, client_of, stripe_sandbox):
    client_of(alice).post("/billing/top-up/", {"amount": "20000"})
    topup = TopUp.objects.get()
    assert told() == []
    stripe_sandbox.pay(topup.checkout_session_id)
    stripe_sandbox.deliver(times=2)
    (body,) = told()
    topup.refresh_from_db()
    assert body["type"] == "topup.completed"
    assert body["organization_id"] == str(organization.pk)
    assert body["data"]["id"] == str(topup.pk)
    assert (body["data"]["amount_cents"], body["data"]["bonus_cents"]) == (topup.amount_cents, topup.bonus_cents)
    assert body["data"]["is_automatic"] is False


def test_top_up_whose_credit_is_undone_is_not_told(organization):
    topup = topups.begin(organization, amount_cents=2000, person=None)
    with transaction.atomic():
        topups._credit(topup)
        assert len(told()) == 1
        transaction.set_rollback(True)
    assert told() == []


def test_low_balance_is_told_once_until_money_comes(organization):
    ledger.set_low_balance(organization, threshold_micros=500_000)
    announce()
    assert told() == []
    ledger.reserve(organization, amount_micros=600_000, reference="job:1")
    announce()
    (body,) = told()
    assert body["type"] == "balance.low"
    assert body["data"] == {
        "available_micros": 400_000,
        "balance_micros": 1_000_000,
        "held_micros": 600_000,
        "threshold_micros": 500_000,
    }
    fund(organization, 1_000_000)
    announce()
    ledger.reserve(organization, amount_micros=1_000_000, reference="job:2")
    announce()
    assert len(told()) == 2


def test_balance_without_an_alert_is_not_told(organization):
    ledger.reserve(organization, amount_micros=900_000, reference="job:1")
    announce()
    assert told() == []


def test_low_balance_that_could_not_be_written_down_is_told_later(organization, monkeypatch, caplog):
    ledger.set_low_balance(organization, threshold_micros=500_000)
    ledger.reserve(organization, amount_micros=600_000, reference="job:1")
    with monkeypatch.context() as patch:
        patch.setattr(Delivery.objects, "bulk_create", lambda *_: 1 / 0)
        announce()
    assert "will be tried again" in caplog.text
    announce()
    assert len(told()) == 1


def test_part_of_a_limit_is_told_once_a_month_to_its_organization_alone(organization, charlies):
    endpoints.register(charlies, url="https://example.com/other", events=["limit.alert"])
    key, _ = api_keys.issue(organization, name="server", by=None, monthly_limit_micros=100)
    ledger.set_monthly_limit(organization, limit_micros=50)
    spend_alerts.set_percents(organization, api_key=key, percents=[50, 90])
    spend_alerts.set_percents(organization, api_key=None, percents=[100])
    ledger.settle(ledger.reserve(organization, amount_micros=50, reference="job:1", api_key=key), actual_micros=50)
    now = timezone.now()
    for _ in range(2):
        spend_alerts.announce(now=now)
        spend_alerts.sweep(now=now)
    assert {delivery.organization_id for delivery in Delivery.objects.all()} == {organization.pk}
    bodies = [body["data"] for body in told()]
    of_key = {"key_id": str(key.pk), "percent": 50, "month": f"{now:%Y-%m}", "spent_micros": 50, "limit_micros": 100}
    whole = {**of_key, "key_id": None, "percent": 100, "limit_micros": 50}
    assert sorted(bodies, key=lambda body: body["percent"]) == [of_key, whole]
    assert {body["type"] for body in told()} == {"limit.alert"}
