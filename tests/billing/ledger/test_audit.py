"""Changes that bypassed the ledger are found in any wallet, and each is described."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import api_keys
from accounts.models import Organization
from billing import ledger
from billing.models import Entry, EntryKind, Freeze, Hold, MonthlySpend, Wallet
from tests.billing.append_only import triggers_suspended
from tests.billing.conftest import fund


@pytest.fixture
def busy(acme: Organization, rival: Organization) -> Organization:
    """An organization with everything: holds of a key and of people, charges, a refund and its reversal, a freeze."""
    key, _ = api_keys.issue(acme, name="test", by=None)
    fund(rival, 50)
    fund(acme, 1_000)
    ledger.settle(ledger.reserve(acme, amount_micros=100, reference="work:1", api_key=key), actual_micros=60)
    ledger.settle(ledger.reserve(acme, amount_micros=100, reference="work:2"), actual_micros=0)
    ledger.release(ledger.reserve(acme, amount_micros=100, reference="work:3", api_key=key))
    ledger.reserve(acme, amount_micros=100, reference="work:4", api_key=key)
    ledger.claw_back(acme, amount_micros=2_000, kind=EntryKind.DISPUTE, reference="dispute:1")
    ledger.restore(acme, kind=EntryKind.DISPUTE, reference="dispute:1")
    ledger.claw_back(acme, amount_micros=2_000, kind=EntryKind.DISPUTE, reference="dispute:2")
    assert list(ledger.faults()) == []
    return acme


def change_entry(**fields: object) -> Callable[[], object]:
    def change() -> None:
        with triggers_suspended():
            Entry.objects.filter(kind=EntryKind.USAGE).update(**fields)

    return change


def forge_entry(**fields: object) -> Callable[[], object]:
    def forge() -> None:
        wallet = Wallet.objects.get(organization__name="Rival")
        Entry.objects.create(wallet=wallet, **fields)
        Wallet.objects.filter(pk=wallet.pk).update(balance_micros=fields["balance_after_micros"])

    return forge


BREAKS: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "balance": (
        lambda: Wallet.objects.filter(organization__name="Rival").update(balance_micros=51),
        ("The balance is 51; the entries sum to 50.",),
    ),
    "held": (
        lambda: Wallet.objects.filter(organization__name="Rival").update(held_micros=1),
        ("Held is 1; the open holds sum to 0.",),
    ),
    "chain": (change_entry(balance_after_micros=7), ("says 7 after it; the sum is 940.",)),
    "charge without a hold": (
        forge_entry(kind=EntryKind.USAGE, reference="work:9", amount_micros=-1, balance_after_micros=49),
        ("charges 1 for work:9, which no hold was settled for.",),
    ),
    "hold without a charge": (
        lambda: Hold.objects.filter(reference="work:2").update(charged_micros=5),
        ("says|its holds sum to 165", "was charged 5; the book has 0 for it."),
    ),
    "reversal without a claw-back": (
        forge_entry(kind=EntryKind.REFUND_REVERSAL, reference="back:9", amount_micros=5, balance_after_micros=55),
        ("restores 5; 0 was taken for back:9.",),
    ),
    "freeze lifted by hand": (
        lambda: Freeze.objects.filter(lifted_at=None).update(lifted_at=timezone.now()),
        ("but a reason for it stands: False.", "Available is -1160; frozen for a debt: False."),
    ),
    "freeze forgotten": (
        lambda: Freeze.objects.create(wallet=Wallet.objects.get(organization__name="Rival"), reason="operator"),
        ("Frozen since None, but a reason for it stands: True.",),
    ),
    "count of a key": (
        lambda: MonthlySpend.objects.exclude(api_key=None).update(spent_micros=3),
        ("is 3; its holds sum to 160.",),
    ),
    "count of an organization": (
        lambda: MonthlySpend.objects.filter(api_key=None).update(spent_micros=3),
        ("is 3; its holds sum to 160.",),
    ),
    "count that is not there": (
        lambda: MonthlySpend.objects.exclude(api_key=None).delete(),
        ("is counted for no limit of",) * 2,
    ),
    "hold that was forgotten": (
        lambda: Hold.objects.open().update(created_at=timezone.now() - timedelta(days=8)),
        ("for work:4 is open since",),
    ),
}


@pytest.mark.long
@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("name", BREAKS)
def test_break_is_found_and_named(name: str) -> None:
    break_it, sentences = BREAKS[name]
    break_it()
    found = list(ledger.faults())
    assert len(found) == len(sentences), found
    for fault, sentence in zip(found, sentences, strict=True):
        assert any(part in fault for part in sentence.split("|")), found


def test_verify_finds_changes_that_bypassed_the_ledger(acme: Organization) -> None:
    wallet = fund(acme, 100)
    ledger.reserve(acme, amount_micros=60, reference="job:1")
    assert ledger.verify(wallet) == []
    Wallet.objects.filter(pk=wallet.pk).update(balance_micros=101, held_micros=59)
    Entry.objects.create(
        wallet=wallet, kind=EntryKind.CREDIT, reference="forged", amount_micros=5, balance_after_micros=100
    )
    faults = ledger.verify(wallet)
    assert [fault.split(" ")[0] for fault in faults] == ["Entry", "The", "Held"]
    assert "the entries sum to 105" in faults[1]
    assert "the open holds sum to 60" in faults[2]


@pytest.mark.usefixtures("busy")
def test_verify_looks_at_one_wallet_only(rival: Organization, acme: Organization) -> None:
    Wallet.objects.of(acme).update(held_micros=99)
    assert ledger.verify(Wallet.objects.of(rival).get()) == []
    assert len(ledger.verify(Wallet.objects.of(acme).get())) == 1


def test_registered_checks_are_asked_once_each(acme: Organization) -> None:
    wrong = ["A paid top-up was not posted."]

    def check() -> list[str]:
        return list(wrong)

    ledger.also_check(check)
    ledger.also_check(check)
    try:
        assert list(ledger.faults()) == wrong
        assert ledger.verify(ledger.wallet_of(acme)) == []
    finally:
        # It stays registered, and has nothing to say in other tests.
        wrong.clear()


def test_number_of_statements_does_not_grow_with_the_book(busy: Organization, rival: Organization) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert list(ledger.faults()) == []
        return len(captured)

    before = statements()
    for number in range(20):
        ledger.settle(ledger.reserve(rival, amount_micros=1, reference=f"more:{number}"), actual_micros=1)
    assert statements() == before
