"""Wallets and their freezes."""

import pytest

from accounts.models import Organization
from billing import ledger
from billing.models import EntryKind, Freeze, Wallet
from tests.billing.conftest import fund, money_of


def wallet_of(organization: Organization) -> Wallet:
    return Wallet.objects.of(organization).get()


def test_wallet_is_made_on_first_need_and_only_once(acme: Organization) -> None:
    wallet = ledger.wallet_of(acme)
    assert (wallet.balance_micros, wallet.held_micros) == (0, 0)
    assert ledger.wallet_of(acme) == wallet
    assert Wallet.objects.count() == 1


def test_wallet_stays_frozen_while_any_reason_stands(acme: Organization) -> None:
    fund(acme, 100)
    assert ledger.freeze(acme, reason="dispute:1") is True
    assert ledger.freeze(acme, reason="dispute:1") is False
    ledger.freeze(acme, reason="operator")
    assert ledger.thaw(acme, reason="dispute:1") is True
    assert ledger.thaw(acme, reason="dispute:1") is False
    assert wallet_of(acme).is_frozen
    with pytest.raises(ledger.WalletFrozen):
        ledger.reserve(acme, amount_micros=1, reference="job:1")
    ledger.thaw(acme, reason="operator")
    assert not wallet_of(acme).is_frozen
    assert ledger.freeze(acme, reason="dispute:1") is True
    assert Freeze.objects.count() == 3
    assert money_of(acme) == (100, 0)


def test_nobody_lifts_a_debt_but_money(acme: Organization) -> None:
    ledger.claw_back(acme, amount_micros=5, kind=EntryKind.REFUND, reference="back:1")
    for verb in (ledger.freeze, ledger.thaw):
        with pytest.raises(ValueError, match="debt"):
            verb(acme, reason=ledger.DEBT)
    ledger.freeze(acme, reason="operator")
    ledger.thaw(acme, reason="operator")
    assert wallet_of(acme).is_frozen
