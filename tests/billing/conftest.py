"""Fixtures of billing: organizations without money, and helpers to fund and read them."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import time_machine
from django.db import connection

from accounts.models import Organization, Role, User
from billing import automatic_topups, ledger
from billing.models import EntryKind, Wallet
from billing.models.payments import AutomaticTopUp, SavedCard, TopUp
from tests.billing.automatic import turn_on
from tests.billing.paying import pay
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting

# The middle of a month, so that a test over a few days stays in that month.
NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.fixture
def frozen() -> Iterator[None]:
    """Stop the clock at NOW."""
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def acme(db: None) -> Organization:
    """An organization that was never verified, so it has no sign-up credit."""
    return Organization.objects.create(name="Acme")


@pytest.fixture
def rival(db: None) -> Organization:
    return Organization.objects.create(name="Rival")


@pytest.fixture
def owner(acme: Organization) -> User:
    user = User.objects.create_user("owner@example.com")
    acme.memberships.create(user=user, role=Role.OWNER)
    return user


@pytest.fixture
def payer(acme: Organization) -> User:
    user = User.objects.create_user("payer@example.com")
    acme.memberships.create(user=user, role=Role.OWNER)
    return user


@pytest.fixture
def asked_in_transaction() -> Iterator[list[bool]]:
    """For each request to the sandbox from here on: whether a transaction was open. Request this fixture last."""
    seen: list[bool] = []

    def record(perform: Perform, _: Request) -> Response:
        seen.append(connection.in_atomic_block)
        return perform()

    with intercepting(record):
        yield seen


@pytest.fixture
def card(frozen: None, stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> str:
    """A card that was saved with a top-up of $5, all of which is spent. Returns its id at Stripe."""
    pay(stripe_sandbox, acme, owner, 500, save_card=True)
    ledger.settle(ledger.reserve(acme, amount_micros=5_000_000, reference="job:1"), actual_micros=5_000_000)
    return SavedCard.objects.get().payment_method_id


@pytest.fixture
def topup_settings(card: str, acme: Organization, owner: User) -> AutomaticTopUp:
    return turn_on(acme, owner)


@pytest.fixture
def paid(topup_settings: AutomaticTopUp) -> TopUp:
    """An automatic top-up of $200 that was just charged and credited, after a checkout of $5 that saved the card."""
    assert automatic_topups.run() == 1
    return TopUp.objects.get(is_automatic=True)


def fund(organization: Organization, amount_micros: int, reference: str = "") -> Wallet:
    """Give an organization money and return its wallet."""
    ledger.credit(
        organization,
        amount_micros=amount_micros,
        kind=EntryKind.CREDIT,
        reference=reference or f"test:{organization.pk}:{ledger.wallet_of(organization).entries.count()}",
    )
    return Wallet.objects.of(organization).get()


def money_of(organization: Organization) -> tuple[int, int]:
    """Return (balance, held) in micro-dollars, after checking that the ledger agrees."""
    wallet = Wallet.objects.of(organization).get()
    assert ledger.verify(wallet) == []
    return wallet.balance_micros, wallet.held_micros


def spend(organization: Organization, micros: int) -> None:
    """Hold this much for a job of its own, and charge it."""
    reference = f"job:{uuid.uuid4()}"
    ledger.settle(ledger.reserve(organization, amount_micros=micros, reference=reference), actual_micros=micros)


def balance_of(organization: Organization) -> tuple[int, bool]:
    """Return (balance in micro-dollars, whether it is frozen), after checking that the ledger agrees."""
    wallet = Wallet.objects.of(organization).get()
    assert ledger.verify(wallet) == []
    return wallet.balance_micros, wallet.is_frozen
