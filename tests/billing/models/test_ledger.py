"""Constraints of the ledger's tables: they hold for every writer."""

from datetime import UTC, date, datetime

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from accounts import api_keys
from accounts.models import Organization
from billing import ledger
from billing.models import Entry, EntryKind, Freeze, Hold, HoldState, MonthlySpend, Wallet
from tests.billing.conftest import fund

MONTH = date(2026, 11, 1)
NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
SETTLED = {"state": HoldState.SETTLED, "closed_at": timezone.now}


@pytest.mark.parametrize(
    ("constraint", "balance", "held"),
    [("wallet_held_is_not_negative", 10, -1), ("wallet_is_overdrawn_only_while_frozen", 10, 11)],
)
def test_wallet_refuses(acme: Organization, constraint: str, balance: int, held: int) -> None:
    wallet = ledger.wallet_of(acme)
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Wallet.objects.filter(pk=wallet.pk).update(balance_micros=balance, held_micros=held)


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("wallet_limit_is_not_negative", {"monthly_limit_micros": -1}),
        ("wallet_low_balance_is_positive", {"low_balance_micros": 0}),
    ],
)
def test_wallet_refuses_settings(acme: Organization, constraint: str, fields: dict[str, object]) -> None:
    wallet = ledger.wallet_of(acme)
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Wallet.objects.filter(pk=wallet.pk).update(**fields)


def test_only_a_frozen_wallet_may_be_overdrawn(acme: Organization) -> None:
    wallet = ledger.wallet_of(acme)
    Wallet.objects.filter(pk=wallet.pk).update(balance_micros=-5, frozen_at=timezone.now())
    with pytest.raises(IntegrityError, match="wallet_is_overdrawn_only_while_frozen"), transaction.atomic():
        Wallet.objects.filter(pk=wallet.pk).update(frozen_at=None)


def test_one_standing_freeze_per_reason(acme: Organization) -> None:
    wallet = ledger.wallet_of(acme)
    Freeze.objects.create(wallet=wallet, reason="operator", lifted_at=timezone.now())
    Freeze.objects.create(wallet=wallet, reason="operator")
    with pytest.raises(IntegrityError), transaction.atomic():
        Freeze.objects.create(wallet=wallet, reason="operator")
    with pytest.raises(IntegrityError, match="freeze_has_a_reason"), transaction.atomic():
        Freeze.objects.create(wallet=wallet, reason="")


def test_one_count_per_wallet_key_and_month(acme: Organization) -> None:
    wallet = ledger.wallet_of(acme)
    key, _ = api_keys.issue(acme, name="test", by=None)
    for api_key in (None, key):
        MonthlySpend.objects.create(wallet=wallet, api_key=api_key, month=MONTH)
        with pytest.raises(IntegrityError), transaction.atomic():
            MonthlySpend.objects.create(wallet=wallet, api_key=api_key, month=MONTH)
    with pytest.raises(IntegrityError, match="spend_is_not_negative"), transaction.atomic():
        MonthlySpend.objects.update(spent_micros=-1)


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("entry_amount_is_not_zero|entry_sign_fits_kind", {"amount_micros": 0}),
        ("entry_sign_fits_kind", {"amount_micros": -1}),
        ("entry_sign_fits_kind", {"amount_micros": 1, "kind": EntryKind.USAGE}),
        ("entry_sign_fits_kind", {"amount_micros": 1, "kind": "gift"}),
        ("entry_has_a_reference", {"amount_micros": 1, "reference": ""}),
    ],
)
def test_entry_refuses(acme: Organization, constraint: str, fields: dict[str, object]) -> None:
    given = {"kind": EntryKind.PAYMENT, "reference": "topup:1", **fields}
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Entry.objects.create(wallet=ledger.wallet_of(acme), balance_after_micros=0, **given)


def test_one_entry_per_kind_and_reference_over_all_organizations(acme: Organization, rival: Organization) -> None:
    fields = {"reference": "topup:1", "amount_micros": 1, "balance_after_micros": 1}
    Entry.objects.create(wallet=ledger.wallet_of(acme), kind=EntryKind.PAYMENT, **fields)
    Entry.objects.create(wallet=ledger.wallet_of(acme), kind=EntryKind.BONUS, **fields)
    with pytest.raises(IntegrityError), transaction.atomic():
        Entry.objects.create(wallet=ledger.wallet_of(rival), kind=EntryKind.PAYMENT, **fields)


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("hold_amount_is_not_negative", {"amount_micros": -1}),
        ("hold_has_closing_time_unless_open", {"state": HoldState.SETTLED, "charged_micros": 0}),
        ("hold_has_closing_time_unless_open", {"state": "lost"}),
        ("hold_has_closing_time_unless_open", {"closed_at": timezone.now}),
        ("hold_has_a_reference", {"reference": ""}),
        ("hold_is_charged_within_its_amount", {"charged_micros": 1}),
        ("hold_is_charged_within_its_amount", {**SETTLED, "charged_micros": None}),
        ("hold_is_charged_within_its_amount", {**SETTLED, "charged_micros": 2}),
        ("hold_is_charged_within_its_amount", {**SETTLED, "charged_micros": -1}),
    ],
)
def test_hold_refuses(acme: Organization, constraint: str, fields: dict[str, object]) -> None:
    fields = {name: value() if callable(value) and name == "closed_at" else value for name, value in fields.items()}
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Hold.objects.create(
            wallet=ledger.wallet_of(acme), **{"reference": "job:1", "amount_micros": 1, "month": MONTH, **fields}
        )


def test_organization_with_money_cannot_be_deleted(acme: Organization) -> None:
    wallet = fund(acme, 1)
    with pytest.raises(ProtectedError):
        acme.delete()
    with pytest.raises(ProtectedError):
        wallet.delete()


def test_rows_are_reached_through_the_organization(acme: Organization, rival: Organization) -> None:
    fund(acme, 10)
    hold = ledger.reserve(acme, amount_micros=3, reference="job:1")
    ledger.wallet_of(rival)
    assert Hold.objects.of(acme).open().get() == hold
    assert Wallet.objects.of(acme).get().available_micros == 7
    assert not Entry.objects.of(rival).exists()
    assert not Hold.objects.of(rival).exists()
