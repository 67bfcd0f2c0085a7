"""Tokens that ended long ago are deleted. Money stays."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from accounts import api_keys, tokens
from accounts.models import ApiKey
from billing import ledger, periodic, token_retention, usage
from billing.models import Entry, Hold, TokenSpend
from tests.billing.conftest import fund

LATER = tokens.KEEP_FOR + timedelta(hours=2)


@pytest.fixture
def key(acme):
    fund(acme, 100_000)
    return api_keys.issue(acme, name="server", by=None)[0]


def token_of(key):
    facts = {"scopes": ["chat"], "lifetime": timedelta(hours=1), "spend_limit_micros": 1_000}
    return tokens.issue(key, name="t", **facts)[0]


def test_token_is_kept_for_a_time_and_its_charge_for_ever(acme, key):
    token = token_of(key)
    hold = ledger.reserve(acme, amount_micros=700, reference="work:1", api_key=token)
    ledger.settle(hold, actual_micros=500)
    today = timezone.now().date()
    assert token_retention.purge(now=timezone.now() + tokens.KEEP_FOR) == 0
    assert token_retention.purge(now=timezone.now() + LATER) == 1
    assert list(ApiKey.objects.all()) == [key]
    assert not TokenSpend.objects.exists()
    assert Hold.objects.get().token_id == token.pk
    assert Entry.objects.get(kind="usage").details["token_id"] == str(token.pk)
    [line] = usage.lines(acme, since=today, until=today, group_by=["key"])
    assert (line.group["key"].key_id, line.amounts.cost_micros) == (key.pk, 500)
    assert list(ledger.faults()) == []


def test_token_with_an_open_hold_stays_until_that_ends(acme, key):
    token = token_of(key)
    hold = ledger.reserve(acme, amount_micros=700, reference="work:1", api_key=token)
    assert token_retention.purge(now=timezone.now() + LATER) == 0
    ledger.settle(hold, actual_micros=500)
    assert TokenSpend.objects.get().spent_micros == 500
    assert token_retention.purge(now=timezone.now() + LATER) == 1


def test_keys_are_never_deleted(acme, key):
    api_keys.issue(acme, name="short", by=None, expires_at=timezone.now() + timedelta(hours=1))
    api_keys.revoke(acme, key_id=key.pk)
    assert token_retention.purge(now=timezone.now() + LATER) == 0
    assert ApiKey.objects.count() == 2


def test_late_work_of_a_deleted_token_holds_nothing(acme, key):
    token = token_of(key)
    with time_machine.travel(timezone.now() + LATER, tick=False):
        token_retention.purge(now=timezone.now())
        with pytest.raises(ledger.SpendLimitReached):
            ledger.reserve(acme, amount_micros=1, reference="work:1", api_key=token)


def test_clock_deletes_more_than_one_batch(key):
    for _ in range(5):
        token_of(key)
    with time_machine.travel(timezone.now() + LATER, tick=False):
        periodic.forget_tokens(batch_size=2)
    assert list(ApiKey.objects.all()) == [key]
