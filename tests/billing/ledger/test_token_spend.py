"""What tokens spend: within their own limit, and those of their key and organization."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from accounts import api_keys, tokens
from accounts.errors import PaymentRequired
from billing import ledger, usage
from billing.models import Entry, EntryKind, Hold, MonthlySpend, TokenSpend
from tests.billing.conftest import fund
from tests.billing.ledger import contention
from tests.contention import contend


@pytest.fixture
def key(acme):
    fund(acme, 100_000)
    return api_keys.issue(acme, name="server", by=None)[0]


def token_of(key, micros=1_000):
    facts = {"scopes": ["chat"], "lifetime": timedelta(hours=1)}
    return tokens.issue(key, name="t", spend_limit_micros=micros, **facts)[0]


def reserve(acme, token, micros, reference="work:1"):
    return ledger.reserve(acme, amount_micros=micros, reference=reference, api_key=token)


def spent(token):
    return TokenSpend.objects.get(token=token).spent_micros


def faultless(acme):
    return ledger.verify(ledger.wallet_of(acme)) == []


def test_hold_of_a_token_counts_for_it_its_key_and_the_organization(acme, key):
    token = token_of(key)
    hold = reserve(acme, token, 700)
    assert (hold.api_key_id, hold.token_id) == (key.pk, token.pk)
    counts = {row.api_key_id: row.spent_micros for row in MonthlySpend.objects.all()}
    assert counts == {None: 700, key.pk: 700}
    assert (spent(token), faultless(acme)) == (700, True)
    with pytest.raises(ledger.SpendLimitReached) as refusal:
        reserve(acme, token, 301, "work:2")
    assert (refusal.value.data["limit"], refusal.value.data["left_micros"]) == ("token", 300)
    assert "resets_at" not in refusal.value.data
    ledger.settle(hold, actual_micros=200)
    assert (spent(token), faultless(acme)) == (200, True)
    ledger.release(reserve(acme, token, 800, "work:3"))
    assert (spent(token), faultless(acme)) == (200, True)


def test_charge_is_the_keys_and_names_the_token(acme, key):
    token = token_of(key)
    entry = ledger.settle(reserve(acme, token, 700), actual_micros=500)
    assert (entry.details["api_key_id"], entry.details["token_id"]) == (str(key.pk), str(token.pk))
    today = entry.created_at.date()
    [line] = usage.lines(acme, since=today, until=today, group_by=["key"])
    assert (line.group["key"].key_id, line.amounts.cost_micros) == (key.pk, 500)


def test_limit_of_the_key_binds_all_its_tokens_together(acme, key):
    api_keys.set_monthly_limit(acme, key_id=key.pk, limit_micros=1_500)
    reserve(acme, token_of(key), 1_000)
    with pytest.raises(PaymentRequired) as refusal:
        reserve(acme, token_of(key), 501, "work:2")
    assert is_silent(refusal.value)
    # And the key with them: nothing was set aside, and nothing has to come back.
    with pytest.raises(ledger.SpendLimitReached):
        reserve(acme, key, 501, "work:3")
    reserve(acme, key, 500, "work:4")


def test_lowered_limit_of_the_key_counts_for_its_tokens_at_once(acme, key):
    token = token_of(key)
    reserve(acme, token, 1)
    api_keys.set_monthly_limit(acme, key_id=key.pk, limit_micros=0)
    with pytest.raises(PaymentRequired):
        reserve(acme, token, 1, "work:2")


def test_limit_of_the_organization_binds_a_token(acme, key):
    ledger.set_monthly_limit(acme, limit_micros=10)
    with pytest.raises(PaymentRequired) as refusal:
        reserve(acme, token_of(key), 11)
    assert is_silent(refusal.value)


def is_silent(error):
    """Whether a refusal says nothing of the organization: whoever has the token is a stranger."""
    return (type(error), error.type, error.data) == (PaymentRequired, "insufficient_balance", {}) and "$" not in str(
        error
    )


def all_refusals(acme, token, micros):
    """What every verb says to a token that asks for so much."""
    acts = (
        lambda: ledger.require(acme, amount_micros=micros, api_key=token),
        lambda: reserve(acme, token, micros),
        lambda: ledger.reservable(acme, at_least_micros=micros, at_most_micros=micros, api_key=token),
    )
    for act in acts:
        with pytest.raises(PaymentRequired) as refusal:
            act()
        yield refusal.value
    yield from ledger.reserve_each(
        acme, [ledger.HoldRequest(micros, micros, f"each:{number}") for number in (1, 2)], api_key=token
    )


@pytest.mark.parametrize("wall", ["balance", "dispute", "debt"])
def test_token_is_not_told_why_the_organization_cannot_pay(acme, key, wall):
    token = token_of(key, 200_000)
    if wall == "dispute":
        ledger.freeze(acme, reason="dispute:7")
    if wall == "debt":
        ledger.claw_back(acme, amount_micros=100_007, kind=EntryKind.REFUND, reference="claw:7")
    assert all(map(is_silent, all_refusals(acme, token, 100_001)))


def test_token_hears_of_its_own_limit_before_anything_else(acme, key):
    token = token_of(key, 1_000)
    ledger.freeze(acme, reason="dispute:7")
    api_keys.set_monthly_limit(acme, key_id=key.pk, limit_micros=5)
    for refusal in all_refusals(acme, token, 1_001):
        assert (refusal.data["limit"], refusal.data["left_micros"]) == ("token", 1_000)


def test_hold_of_a_token_is_extended_without_a_word_of_the_organization(acme, key):
    hold = reserve(acme, token_of(key, 200_000), 1_000)
    with pytest.raises(PaymentRequired) as refusal:
        ledger.extend(hold, to_micros=150_000)
    assert is_silent(refusal.value)


def test_token_without_money_spends_nothing(acme, key):
    with pytest.raises(ledger.SpendLimitReached):
        reserve(acme, token_of(key, 0), 1)
    assert reserve(acme, token_of(key, 0), 0, "work:2").amount_micros == 0


def test_month_that_begins_gives_a_token_nothing(acme, key):
    with time_machine.travel(datetime(2026, 4, 30, 23, 55, tzinfo=UTC), tick=False):
        token = token_of(key)
        first = reserve(acme, token, 900)
    with time_machine.travel(datetime(2026, 5, 1, 0, 5, tzinfo=UTC), tick=False):
        with pytest.raises(ledger.SpendLimitReached):
            reserve(acme, token, 101, "work:2")
        reserve(acme, token, 100, "work:3")
        ledger.settle(first, actual_micros=300)
    assert (spent(token), faultless(acme)) == (400, True)


def test_work_of_a_token_that_has_ended_ends_within_its_limit(acme, key):
    token = token_of(key)
    hold = reserve(acme, token, 400)
    tokens.revoke(key, token_id=token.pk)
    ledger.extend_as_far_as_possible(hold, to_micros=5_000)
    assert hold.amount_micros == 1_000
    assert ledger.settle(hold, actual_micros=5_000).amount_micros == -1_000
    assert (spent(token), faultless(acme)) == (1_000, True)


def test_batch_takes_what_a_token_has(acme, key):
    token = token_of(key)
    requests = [ledger.HoldRequest(100, 300, f"work:{number}") for number in range(5)]
    held = ledger.reserve_each(acme, requests, api_key=token)
    assert [hold.amount_micros for hold in held[:4]] == [300, 300, 300, 100]
    assert isinstance(held[4], ledger.SpendLimitReached)
    ledger.settle_each([ledger.Charge(hold, 50) for hold in held[:4]])
    assert (spent(token), faultless(acme)) == (200, True)
    assert Entry.objects.of(acme).filter(details__api_key_id=str(key.pk)).count() == 4


def test_same_work_asked_twice_is_held_once(acme, key):
    token = token_of(key)
    assert reserve(acme, token, 600).pk == reserve(acme, token, 600).pk
    assert spent(token) == 600


def test_estimate_of_a_token_leaves_nothing(acme, key):
    token = token_of(key)
    assert ledger.reservable(acme, at_least_micros=1, at_most_micros=5_000, api_key=token) == 1_000
    assert not Hold.objects.exists()
    assert not TokenSpend.objects.exists()


def test_audit_sees_a_wrong_count(acme, key):
    token = token_of(key)
    reserve(acme, token, 600)
    TokenSpend.objects.update(spent_micros=599)
    assert ledger.verify(ledger.wallet_of(acme)) == [f"The token {token.pk} has spent 599; its holds sum to 600."]
    TokenSpend.objects.all().delete()
    assert ledger.verify(ledger.wallet_of(acme)) == [f"The token {token.pk} has spent 0; its holds sum to 600."]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.django_db(transaction=True)
def test_many_at_once_spend_the_limit_of_a_token_and_not_more(acme, key, kind):
    token = token_of(key, 20_000)
    admitted = sum(contend(contention.spend, acme, token, kind=kind))
    assert admitted == 20
    assert (spent(token), faultless(acme)) == (20_000, True)
