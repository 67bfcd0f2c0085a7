import pytest
from pytest_django import Settings

from accounts import organizations
from accounts.models import User
from billing import signup_credit
from billing.models import Entry, EntryKind, Wallet
from tests.billing.conftest import money_of


@pytest.fixture(autouse=True)
def one_dollar(settings: Settings) -> None:
    settings.SIGNUP_CREDIT_CENTS = 100


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann@example.com")


def test_persons_first_organization_gets_the_credit_once(ann: User) -> None:
    first = organizations.create(name="First", owner=ann)
    assert organizations.verify(first)
    assert not organizations.verify(first)
    signup_credit.grant(first)
    assert money_of(first) == (1_000_000, 0)
    entry = Entry.objects.of(first).get()
    assert (entry.kind, entry.reference) == (EntryKind.CREDIT, f"signup:{ann.pk}")


def test_second_organization_is_not_another_dollar(ann: User) -> None:
    for name in ("First", "Second", "Third"):
        organizations.verify(organizations.create(name=name, owner=ann))
    assert Entry.objects.count() == 1


def test_no_credit_where_the_operator_gives_none(ann: User, settings: Settings) -> None:
    settings.SIGNUP_CREDIT_CENTS = 0
    first = organizations.create(name="First", owner=ann)
    assert organizations.verify(first)
    assert not Wallet.objects.of(first).exists()
