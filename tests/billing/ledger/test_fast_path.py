"""The fast path on either database: the usual case at once, and otherwise nothing at all."""

from typing import Any

import pytest
from django.db import IntegrityError
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, Organization
from billing import ledger
from billing.ledger import fast_path, holds
from billing.models import Entry, EntryKind, Hold, HoldState, MonthlySpend
from tests.billing.conftest import fund, money_of

UNAVAILABLE = (fast_path.FastPathUnavailable, IntegrityError)


@pytest.fixture
def funded(acme: Organization) -> Organization:
    """An organization with 100 micro-dollars, whose month has begun."""
    fund(acme, 100)
    ledger.release(ledger.reserve(acme, amount_micros=0, reference="the month's row"))
    return acme


def unwritten(*amounts: int, api_key: ApiKey | None = None, prefix: str = "job") -> list[Hold]:
    now = timezone.now()
    return [
        holds.build_hold(f"{prefix}:{number}", amount_micros=amount, api_key=api_key, now=now)
        for number, amount in enumerate(amounts)
    ]


def reserve(organization: Organization, *amounts: int, **fields: Any) -> list[Hold]:
    made = unwritten(*amounts, **fields)
    fast_path.reserve(made, organization_id=organization.pk)
    return made


def charge(hold: Hold, micros: int) -> tuple[Hold, Entry]:
    now = timezone.now()
    return hold, holds.build_usage_entry(hold, actual_micros=micros, description="", details=None, now=now)


def spent(organization: Organization, api_key: ApiKey | None = None) -> int:
    return MonthlySpend.objects.get(wallet__organization=organization, api_key=api_key).spent_micros


@pytest.mark.parametrize("amounts", [(60,), (10, 20, 30)])
def test_holds_are_written_together(funded: Organization, amounts: tuple[int, ...]) -> None:
    made = reserve(funded, *amounts)
    assert money_of(funded) == (100, 60)
    assert spent(funded) == 60
    stored = {hold.pk: hold for hold in Hold.objects.open()}
    for hold in made:
        assert (stored[hold.pk].reference, stored[hold.pk].amount_micros) == (hold.reference, hold.amount_micros)
        assert stored[hold.pk].wallet_id == hold.wallet_id


def refuse(organization: Organization, case: str) -> None:
    """Ask for what the fast path cannot do."""
    key = None
    amounts = [60, 41] if case == "too much" else [60, 40]
    if case == "frozen":
        ledger.freeze(organization, reason="dispute:1")
    if case == "limit":
        key = api_keys.issue(organization, name="capped", by=None, monthly_limit_micros=99)[0]
        ledger.release(ledger.reserve(organization, amount_micros=0, reference="the key's row", api_key=key))
    if case == "first of the month":
        MonthlySpend.objects.all().delete()
    if case == "used before":
        ledger.release(ledger.reserve(organization, amount_micros=0, reference="job:1"))
    fast_path.reserve(unwritten(*amounts, api_key=key), organization_id=organization.pk)


@pytest.mark.parametrize("case", ["too much", "frozen", "limit", "first of the month", "used before"])
def test_hold_that_is_not_the_usual_case_leaves_nothing_of_its_batch(funded: Organization, case: str) -> None:
    with pytest.raises(UNAVAILABLE):
        refuse(funded, case)
    assert Hold.objects.open().count() == 0
    assert money_of(funded) == (100, 0)


def test_charges_are_written_together_in_their_order(funded: Organization) -> None:
    key = api_keys.issue(funded, name="server", by=None)[0]
    ledger.release(ledger.reserve(funded, amount_micros=0, reference="the key's row", api_key=key))
    first, second = reserve(funded, 30, 40, api_key=key)
    now = timezone.now()
    pairs = [charge(first, 30), charge(second, 5)]
    fast_path.settle(pairs, now=now)
    assert money_of(funded) == (65, 0)
    assert (spent(funded), spent(funded, key)) == (35, 35)
    entries = list(Entry.objects.filter(kind=EntryKind.USAGE).order_by("pk"))
    assert [(entry.amount_micros, entry.balance_after_micros) for entry in entries] == [(-30, 70), (-5, 65)]
    assert [entry.balance_after_micros for _, entry in pairs] == [70, 65]
    for hold, micros in ((first, 30), (second, 5)):
        assert (hold.state, hold.charged_micros, hold.closed_at) == (HoldState.SETTLED, micros, now)
        stored = Hold.objects.get(pk=hold.pk)
        assert (stored.state, stored.charged_micros) == (HoldState.SETTLED, micros)


@pytest.mark.long
@pytest.mark.parametrize("end", ["settled", "released", "extended", "frozen"])
def test_charge_of_a_hold_that_has_changed_leaves_nothing_of_its_batch(funded: Organization, end: str) -> None:
    first, second = reserve(funded, 30, 40)
    changed = Hold.objects.get(pk=second.pk)
    if end == "settled":
        ledger.settle(changed, actual_micros=40)
    elif end == "released":
        ledger.release(changed)
    elif end == "extended":
        ledger.extend(changed, to_micros=50)
    else:
        ledger.freeze(funded, reason="dispute:1")
    before, count = money_of(funded), Entry.objects.count()
    with pytest.raises(UNAVAILABLE):
        fast_path.settle([charge(first, 30), charge(second, 5)], now=timezone.now())
    assert (money_of(funded), Entry.objects.count()) == (before, count)
    assert Hold.objects.get(pk=first.pk).is_open
    # The caller goes on with the same objects under the lock.
    assert first.is_open


def test_other_wallets_are_left_alone(funded: Organization, rival: Organization) -> None:
    fund(rival, 100)
    (hold,) = reserve(funded, 60)
    fast_path.settle([charge(hold, 50)], now=timezone.now())
    assert money_of(rival) == (100, 0)
