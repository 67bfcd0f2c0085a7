"""Mails about parts of monthly limits: which, when, to whom, and once."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core import mail

from accounts import api_keys
from billing import ledger, periodic, spend_alerts
from billing.models import EntryKind

NOW = datetime(2026, 4, 19, 18, tzinfo=UTC)


@pytest.fixture
def clock():
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def key(organization, clock):
    ledger.credit(organization, amount_micros=1_000_000, kind=EntryKind.PAYMENT, reference="topup:alerts")
    mail.outbox.clear()
    return api_keys.issue(organization, name="server", by=None, monthly_limit_micros=100)[0]


def spend(organization, amount, *, key=None, name):
    hold = ledger.reserve(organization, amount_micros=amount, reference=f"job:{name}", api_key=key)
    ledger.settle(hold, actual_micros=amount)


def subjects():
    spend_alerts.sweep(now=datetime.now(UTC))
    found = [message.subject for message in mail.outbox]
    mail.outbox.clear()
    return found


def test_part_of_a_keys_limit_is_told_once_a_month(organization, key, clock):
    spend_alerts.set_percents(organization, api_key=key, percents=[50, 80])
    spend(organization, 49, key=key, name=1)
    assert subjects() == []
    spend(organization, 1, key=key, name=2)
    assert subjects() == ["50 % of the monthly limit of the API key “server” is spent"]
    spend(organization, 20, key=key, name=3)
    assert subjects() == []
    spend(organization, 30, key=key, name=4)
    assert subjects() == ["80 % of the monthly limit of the API key “server” is spent"]
    assert subjects() == []
    clock.move_to(datetime(2026, 5, 2, tzinfo=UTC))
    assert subjects() == []
    spend(organization, 90, key=key, name=5)
    assert len(subjects()) == 2


def test_part_of_the_organizations_limit_counts_keys_and_people(organization, key, alice):
    ledger.set_monthly_limit(organization, limit_micros=200)
    spend_alerts.set_percents(organization, api_key=None, percents=[50])
    spend(organization, 60, key=key, name=1)
    spend(organization, 40, name=2)
    spend_alerts.sweep(now=NOW)
    (message,) = mail.outbox
    assert message.to == [alice.email]
    assert message.subject == "50 % of the monthly limit of your organization is spent"
    assert "$0.0001 was charged" in message.body
    assert "$0.0002" in message.body


def test_money_that_is_only_held_is_not_spent(organization, key):
    spend_alerts.set_percents(organization, api_key=key, percents=[50])
    hold = ledger.reserve(organization, amount_micros=90, reference="job:1", api_key=key)
    assert subjects() == []
    ledger.release(hold)
    assert subjects() == []
    spend(organization, 50, key=key, name=2)
    assert len(subjects()) == 1


def test_limits_of_none_and_of_nothing_have_no_parts(organization, key):
    for limit in (None, 0):
        spend_alerts.set_percents(organization, api_key=key, percents=[1])
        api_keys.set_monthly_limit(organization, key_id=key.pk, limit_micros=None)
        spend(organization, 5, key=key, name=str(limit))
        api_keys.set_monthly_limit(organization, key_id=key.pk, limit_micros=limit)
        assert subjects() == []


def test_raised_limit_has_larger_parts(organization, key):
    spend_alerts.set_percents(organization, api_key=key, percents=[50])
    key.refresh_from_db()
    api_keys.raise_limit(key, limit_micros=200, until=NOW + timedelta(hours=1))
    spend(organization, 99, key=key, name=1)
    assert subjects() == []
    spend(organization, 1, key=key, name=2)
    assert len(subjects()) == 1


def test_alert_that_was_off_for_a_while_is_not_told_again(organization, key):
    spend_alerts.set_percents(organization, api_key=key, percents=[50])
    spend(organization, 50, key=key, name=1)
    assert len(subjects()) == 1
    spend_alerts.set_percents(organization, api_key=key, percents=[])
    spend_alerts.set_percents(organization, api_key=key, percents=[50])
    assert subjects() == []


def test_last_minutes_of_a_month_are_told_in_the_next_one(organization, key, clock):
    spend_alerts.set_percents(organization, api_key=key, percents=[50])
    clock.move_to(datetime(2026, 4, 30, 23, 59, 50, tzinfo=UTC))
    spend(organization, 50, key=key, name=1)
    clock.move_to(datetime(2026, 5, 1, 0, 0, 40, tzinfo=UTC))
    assert len(subjects()) == 1
    assert subjects() == []


def test_another_organization_hears_nothing(organization, charlies, key):
    for owner in (organization, charlies):
        ledger.set_monthly_limit(owner, limit_micros=100)
        spend_alerts.set_percents(owner, api_key=None, percents=[50])
    spend(organization, 50, key=key, name=1)
    spend_alerts.sweep(now=NOW)
    assert len(mail.outbox) == 1
    assert organization.name in mail.outbox[0].body


def test_clock_sweeps(organization, key):
    spend_alerts.set_percents(organization, api_key=key, percents=[50])
    spend(organization, 50, key=key, name=1)
    assert periodic.tell_of_spending in [duty for _, duty in periodic.DUTIES]
    assert periodic.announce_spending in [duty for _, duty in periodic.DUTIES]
    periodic.announce_spending()
    assert mail.outbox == []
    periodic.tell_of_spending()
    assert len(mail.outbox) == 1


def test_signal_that_fails_is_sent_again(organization, key):
    spend_alerts.set_percents(organization, api_key=key, percents=[50])
    spend(organization, 50, key=key, name=1)
    heard = []

    def hear(alert, **_):
        heard.append(alert.percent)
        if len(heard) == 1:
            raise OSError

    spend_alerts.part_is_spent.connect(hear)
    try:
        for _ in range(3):
            spend_alerts.announce(now=NOW)
    finally:
        spend_alerts.part_is_spent.disconnect(hear)
    assert heard == [50, 50]
