"""What the database itself refuses, whoever writes."""

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from accounts.models import Organization
from billing import ledger
from billing.models import Entry, EntryKind, Hold, HoldState, Wallet
from tests.billing.conftest import fund


@pytest.mark.parametrize(
    ("constraint", "balance", "held"),
    [("wallet_held_is_not_negative", 10, -1), ("wallet_held_is_within_balance", 10, 11)],
)
def test_wallet_refuses(acme: Organization, constraint: str, balance: int, held: int) -> None:
    wallet = ledger.wallet_of(acme)
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Wallet.objects.filter(pk=wallet.pk).update(balance_micros=balance, held_micros=held)


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
        ("hold_has_closing_time_unless_open", {"state": HoldState.SETTLED}),
        ("hold_has_closing_time_unless_open", {"state": "lost"}),
        ("hold_has_closing_time_unless_open", {"closed_at": timezone.now}),
        ("hold_has_a_reference", {"reference": ""}),
    ],
)
def test_hold_refuses(acme: Organization, constraint: str, fields: dict[str, object]) -> None:
    fields = {name: value() if callable(value) and name == "closed_at" else value for name, value in fields.items()}
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Hold.objects.create(wallet=ledger.wallet_of(acme), **{"reference": "job:1", "amount_micros": 1, **fields})


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
