import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from accounts import account_deletion, organizations
from accounts.models import User
from billing import signup_credit
from billing.models import CreditedAddress, Entry, EntryKind, Wallet
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


# --- People who delete their account and come back -------------------------------------------------------------------


def sign_up(email: str, *, others: Sequence[str] = ()) -> User:
    """Make an account, prove its address, and add others that are not proved."""
    person = User.objects.create_user(email)
    EmailAddress.objects.create(user=person, email=email, verified=True, primary=True)
    for other in others:
        EmailAddress.objects.create(user=person, email=other)
    organizations.email_was_verified(person)
    return person


def delete(person: User) -> None:
    account_deletion.order(person, revokes_keys=True)
    User.objects.filter(pk=person.pk).update(delete_at=timezone.now() - timedelta(seconds=1))
    assert account_deletion.delete_due(now=timezone.now()) == 1


def credits_of(person: User) -> int:
    return Entry.objects.filter(kind=EntryKind.CREDIT, reference=f"signup:{person.pk}").count()


@pytest.mark.parametrize("address", ["ann@example.com", "Ann@Example.COM"])
def test_person_who_comes_back_gets_no_second_credit(db: None, address: str) -> None:
    first = sign_up("ann@example.com")
    delete(first)
    assert [credits_of(first), credits_of(sign_up(address))] == [1, 0]


def test_coming_back_again_and_again_brings_nothing(db: None) -> None:
    for _ in range(3):
        delete(sign_up("ann@example.com"))
    assert Entry.objects.filter(kind=EntryKind.CREDIT).count() == 1


def test_address_that_was_added_after_the_credit_counts_too(db: None) -> None:
    first = sign_up("ann@example.com")
    EmailAddress.objects.create(user=first, email="ann@work.example", verified=True)
    delete(first)
    assert credits_of(sign_up("ann@work.example")) == 0


def test_address_that_was_left_before_the_deletion_counts_too(db: None) -> None:
    first = sign_up("ann@example.com")
    EmailAddress.objects.filter(user=first).update(email="ann@work.example")
    User.objects.filter(pk=first.pk).update(email="ann@work.example")
    delete(first)
    assert credits_of(sign_up("ann@example.com")) == 0


def test_person_from_before_the_digests_is_remembered_at_the_deletion(db: None) -> None:
    first = sign_up("ann@example.com")
    CreditedAddress.objects.all().delete()
    delete(first)
    assert credits_of(sign_up("ann@example.com")) == 0


def test_nobody_uses_up_the_address_of_somebody_else(db: None) -> None:
    """They add it to their account, and cannot prove it."""
    delete(sign_up("eve@example.com", others=["ann@example.com"]))
    assert credits_of(sign_up("ann@example.com")) == 1


def test_person_who_had_no_credit_may_come_back_for_it(db: None, settings: Settings) -> None:
    settings.SIGNUP_CREDIT_CENTS = 0
    delete(sign_up("ann@example.com"))
    settings.SIGNUP_CREDIT_CENTS = 100
    assert credits_of(sign_up("ann@example.com")) == 1


def test_new_secret_of_the_site_forgets_nobody_while_the_old_one_serves(db: None, settings: Settings) -> None:
    delete(sign_up("ann@example.com"))
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret of thirty-two characters"
    assert credits_of(sign_up("ann@example.com")) == 0


def test_what_is_kept_tells_no_address_without_the_secret(db: None) -> None:
    sign_up("ann@example.com")
    digest = CreditedAddress.objects.get().digest
    plain = [hashlib.sha256(text.encode()).hexdigest() for text in ("ann@example.com", "billing.signup_credit")]
    assert len(digest) == 64
    assert digest not in plain
    assert {field.name for field in CreditedAddress._meta.get_fields()} == {"digest", "created_at"}


def test_credit_that_is_rolled_back_leaves_no_digest(db: None) -> None:
    with suppress(RuntimeError), transaction.atomic():
        sign_up("ann@example.com")
        raise RuntimeError
    assert not CreditedAddress.objects.exists()
    assert credits_of(sign_up("ann@example.com")) == 1
