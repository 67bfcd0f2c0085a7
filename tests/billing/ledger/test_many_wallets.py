"""Holds and charges of several wallets in one statement. On SQLite there is none."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, Organization, Scope
from billing import ledger
from billing.models import Entry, Hold, HoldState, MonthlySpend, Wallet
from tests.billing.conftest import fund, money_of
from tests.billing.ledger import contention
from tests.contention import contend

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL only")

NOTHING = ledger.Companion("SELECT 1", {})


def key_of(organization: Organization, **fields: int) -> ApiKey:
    """Return a key whose first hold of the month was made, so that its rows are there."""
    key = api_keys.issue(organization, name="key", by=None, **fields)[0]  # type: ignore[arg-type]  # the only other field
    ledger.release(ledger.reserve(organization, amount_micros=0, reference=f"first:{key.pk}", api_key=key))
    return key


def wanted(key: ApiKey, *amounts: int, name: str = "") -> ledger.HoldGroup:
    return ledger.HoldGroup(
        key.organization, key, [ledger.HoldRequest(0, micros, f"{name or key.pk}:{micros}") for micros in amounts]
    )


def reserve(*groups: ledger.HoldGroup) -> list[list[Hold] | None]:
    return ledger.reserve_for_each(groups, companion=NOTHING)


def settle(*charges: ledger.Charge) -> list[bool]:
    return ledger.settle_for_each(charges, companion=NOTHING)


def are_sound(*organizations: Organization) -> bool:
    return not any(list(ledger.verify(ledger.wallet_of(organization))) for organization in organizations)


def test_each_organization_gets_its_holds(acme: Organization, rival: Organization) -> None:
    fund(acme, 1_000)
    fund(rival, 1_000)
    ours, theirs = reserve(wanted(key_of(acme), 100, 200), wanted(key_of(rival), 50))
    assert ours is not None
    assert theirs is not None
    assert [hold.amount_micros for hold in Hold.objects.of(acme).open().order_by("pk")] == [100, 200]
    assert [(hold.wallet_id, hold.pk) for hold in theirs] == list(
        Hold.objects.of(rival).open().values_list("wallet_id", "pk")
    )
    assert (money_of(acme), money_of(rival)) == ((1_000, 300), (1_000, 50))
    assert are_sound(acme, rival)


def test_one_without_money_is_left_undone_and_stops_no_other(acme: Organization, rival: Organization) -> None:
    fund(acme, 1_000)
    fund(rival, 49)
    ours, theirs = reserve(wanted(key_of(acme), 100), wanted(key_of(rival), 50))
    assert ours is not None
    assert theirs is None
    assert (money_of(acme), money_of(rival)) == ((1_000, 100), (49, 0))
    assert are_sound(acme, rival)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: api_keys.revoke(key.organization, key_id=key.pk),
        lambda key: ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1)),
        lambda key: api_keys.set_scopes(key.organization, key_id=key.pk, scopes=[Scope.READ]),
        lambda key: api_keys.rotate(key, overlap=timedelta(hours=1), by=None),
        lambda key: ledger.freeze(key.organization, reason="operator"),
    ],
    ids=["revoked", "expired", "scopes", "rotated", "frozen"],
)
def test_key_that_was_changed_after_it_was_read_holds_nothing(acme: Organization, change: object) -> None:
    fund(acme, 1_000)
    key = key_of(acme)
    change(key)  # type: ignore[operator]  # a function, see above
    assert reserve(wanted(key, 100)) == [None]
    assert money_of(acme) == (1_000, 0)


@pytest.mark.parametrize("whose", ["key", "organization"])
def test_monthly_limit_is_never_passed(acme: Organization, rival: Organization, whose: str) -> None:
    fund(acme, 1_000)
    fund(rival, 1_000)
    key = key_of(acme)
    if whose == "key":
        api_keys.set_monthly_limit(acme, key_id=key.pk, limit_micros=150)
    else:
        ledger.set_monthly_limit(acme, limit_micros=150)
    assert reserve(wanted(key, 150))[0] is not None
    assert reserve(wanted(key, 1), wanted(key_of(rival), 50)) == [None, None]
    assert (money_of(acme), money_of(rival)) == ((1_000, 150), (1_000, 0))
    assert are_sound(acme, rival)


def test_raised_limits_count_while_they_last(acme: Organization) -> None:
    fund(acme, 1_000)
    key = key_of(acme, monthly_limit_micros=100)
    api_keys.raise_limit(key, limit_micros=300, until=timezone.now() + timedelta(hours=1))
    assert reserve(wanted(key, 300))[0] is not None
    assert reserve(wanted(key, 1)) == [None]
    ApiKey.objects.filter(pk=key.pk).update(raised_until=timezone.now() - timedelta(seconds=1))
    assert reserve(wanted(key, 0)) == [None]


def test_key_of_another_organization_is_an_error(acme: Organization, rival: Organization) -> None:
    with pytest.raises(ValueError, match="another organization"):
        reserve(ledger.HoldGroup(acme, key_of(rival), [ledger.HoldRequest(0, 1, "x")]))


def test_reference_that_was_used_before_leaves_all_undone(acme: Organization, rival: Organization) -> None:
    fund(acme, 1_000)
    fund(rival, 1_000)
    key, other = key_of(acme), key_of(rival)
    reserve(wanted(key, 100, name="twice"))
    assert reserve(wanted(key, 100, name="twice"), wanted(other, 100)) == [None, None]
    assert (money_of(acme), money_of(rival)) == ((1_000, 100), (1_000, 0))


@pytest.mark.django_db(transaction=True)
def test_wallet_that_is_locked_is_not_waited_for(acme: Organization, rival: Organization) -> None:
    fund(acme, 1_000)
    fund(rival, 1_000)
    keys = key_of(acme), key_of(rival)
    is_locked, may_end = threading.Event(), threading.Event()

    def lock() -> None:
        with transaction.atomic():
            Wallet.objects.select_for_update().get(organization=acme)
            is_locked.set()
            may_end.wait(30)
        connection.close()

    other = threading.Thread(target=lock)
    other.start()
    try:
        assert is_locked.wait(30)
        ours, theirs = reserve(wanted(keys[0], 100), wanted(keys[1], 100))
    finally:
        may_end.set()
        other.join()
    assert ours is None
    assert theirs is not None
    assert money_of(acme) == (1_000, 0)


def test_charges_of_several_wallets_are_entries_in_order(acme: Organization, rival: Organization) -> None:
    fund(acme, 1_000)
    fund(rival, 1_000)
    key = key_of(acme)
    ours, theirs = reserve(wanted(key, 100, 200), wanted(key_of(rival), 50))
    assert ours is not None
    assert theirs is not None
    charges = [
        ledger.Charge(ours[0], 40, "Chat", {"model": "m"}),
        ledger.Charge(theirs[0], 50),
        ledger.Charge(ours[1], 200),
    ]
    assert settle(*charges) == [True, True, True]
    first, second = Entry.objects.of(acme).filter(kind="usage").order_by("pk")
    assert (first.amount_micros, first.balance_after_micros, first.description) == (-40, 960, "Chat")
    assert first.details == {"model": "m", "api_key_id": str(key.pk)}
    assert (second.amount_micros, second.balance_after_micros) == (-200, 760)
    assert (money_of(acme), money_of(rival)) == ((760, 0), (950, 0))
    assert set(MonthlySpend.objects.filter(wallet__organization=acme).values_list("spent_micros", flat=True)) == {240}
    assert are_sound(acme, rival)


def test_charge_happens_once(acme: Organization) -> None:
    fund(acme, 1_000)
    (holds,) = reserve(wanted(key_of(acme), 100))
    assert holds is not None
    assert settle(ledger.Charge(holds[0], 40)) == [True]
    assert settle(ledger.Charge(holds[0], 40)) == [False]
    assert money_of(acme) == (960, 0)
    assert are_sound(acme)


def test_one_hold_that_was_released_leaves_all_undone(acme: Organization, rival: Organization) -> None:
    """The caller then ends each wallet's holds alone."""
    fund(acme, 1_000)
    fund(rival, 1_000)
    ours, theirs = reserve(wanted(key_of(acme), 100, 200), wanted(key_of(rival), 50))
    assert ours is not None
    assert theirs is not None
    ledger.release(Hold.objects.get(pk=ours[0].pk))
    assert settle(*(ledger.Charge(hold, 10) for hold in [*ours, *theirs])) == [False] * 3
    assert (money_of(acme), money_of(rival)) == ((1_000, 200), (1_000, 50))
    assert Hold.objects.get(pk=ours[1].pk).state == HoldState.OPEN
    assert are_sound(acme, rival)


def test_prices_of_nothing_or_above_the_hold_are_left_to_the_other_verbs(
    acme: Organization, rival: Organization
) -> None:
    fund(acme, 1_000)
    fund(rival, 1_000)
    ours, theirs = reserve(wanted(key_of(acme), 100), wanted(key_of(rival), 50))
    assert ours is not None
    assert theirs is not None
    assert settle(ledger.Charge(ours[0], 0), ledger.Charge(theirs[0], 51)) == [False, False]
    assert settle(ledger.Charge(ours[0], 101), ledger.Charge(theirs[0], 50)) == [False, True]
    assert (money_of(acme), money_of(rival)) == ((1_000, 100), (950, 0))


@pytest.mark.parametrize("kind", ["processes", "threads"])
@pytest.mark.django_db(transaction=True)
def test_burst_on_two_wallets_holds_and_charges_exactly_what_the_money_covers(
    acme: Organization, rival: Organization, kind: str
) -> None:
    fund(acme, 20_500)
    fund(rival, 35_000)
    keys = key_of(acme), key_of(rival)
    results = contend(contention.shared_burst, keys, kind=kind)
    charged = [sum(each[number] for each in results) for number in range(2)]
    assert charged[0] <= 20
    assert charged[1] <= 35
    assert [money_of(acme), money_of(rival)] == [(20_500 - 1_000 * charged[0], 0), (35_000 - 1_000 * charged[1], 0)]
    assert Entry.objects.filter(kind="usage").count() == sum(charged)
    assert are_sound(acme, rival)
