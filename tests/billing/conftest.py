"""Fixtures of billing: organizations without money, and helpers to fund and read them."""

from collections.abc import Iterator

import pytest
from django.db import connection

from accounts.models import Organization, Role, User
from billing import ledger
from billing.models import EntryKind, Wallet
from tests.stripe import Perform, Request, Response, intercepting


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
def asked_in_transaction() -> Iterator[list[bool]]:
    """For each request to the sandbox from here on: whether a transaction was open. Request this fixture last."""
    seen: list[bool] = []

    def record(perform: Perform, _: Request) -> Response:
        seen.append(connection.in_atomic_block)
        return perform()

    with intercepting(record):
        yield seen


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
