from io import StringIO

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts import api_keys
from accounts.models import ApiKey, Membership, Organization, Role, User
from billing.models import Entry
from tests.billing.conftest import money_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_signup_credit(settings: Settings) -> None:
    settings.SIGNUP_CREDIT_CENTS = 0


def create(*arguments: str) -> str:
    """Run the command and return the last line of its output."""
    output = StringIO()
    call_command("create_organization", *arguments, stdout=output)
    return output.getvalue().splitlines()[-1]


def test_new_organization_can_work_at_once() -> None:
    key = create("Acme", "--owner", "Ann@Example.com", "--credit-dollars", "20", "--key-name", "trial")
    found = api_keys.find(key)
    assert found is not None
    assert (found.name, found.organization.name, found.organization.is_verified) == ("trial", "Acme", True)
    owner = Membership.objects.get(organization=found.organization, role=Role.OWNER).user
    assert (owner.email, owner.has_usable_password()) == ("ann@example.com", False)
    assert EmailAddress.objects.get(user=owner).verified
    assert EmailAddress.objects.get(user=owner).primary
    assert money_of(found.organization) == (20_000_000, 0)


def test_signup_credit_comes_on_top(settings: Settings) -> None:
    settings.SIGNUP_CREDIT_CENTS = 100
    create("Acme", "--owner", "ann@example.com", "--credit-dollars", "20")
    assert money_of(Organization.objects.get()) == (21_000_000, 0)


def test_again_makes_another_key_and_credits_only_when_told() -> None:
    first = create("Acme", "--owner", "ann@example.com", "--credit-dollars", "20")
    second = create("Acme", "--owner", "ANN@example.com")
    assert first != second
    organization = Organization.objects.get()
    assert ApiKey.objects.of(organization).count() == 2
    assert money_of(organization) == (20_000_000, 0)
    create("Acme", "--owner", "ann@example.com", "--credit-dollars", "0.50")
    assert money_of(organization) == (20_500_000, 0)


def test_same_name_of_another_owner_is_another_organization() -> None:
    create("Acme", "--owner", "ann@example.com")
    create("Acme", "--owner", "ben@example.com")
    assert Organization.objects.filter(name="Acme").count() == 2


def test_known_person_keeps_password_and_organizations(alice: User) -> None:
    create("Acme", "--owner", alice.email)
    alice.refresh_from_db()
    assert alice.check_password("correct horse battery")
    assert Organization.objects.filter(memberships__user=alice).count() == 2


def test_password_that_a_stranger_chose_for_an_unproved_address_is_void() -> None:
    squatter = User.objects.create_user("ann@example.com", "squatter's password")
    EmailAddress.objects.create(user=squatter, email=squatter.email, primary=True)
    create("Acme", "--owner", "ann@example.com")
    squatter.refresh_from_db()
    assert not squatter.has_usable_password()
    assert EmailAddress.objects.get().verified


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["", "--owner", "ann@example.com"], "NAME must be"),
        (["x" * 101, "--owner", "ann@example.com"], "NAME must be"),
        (["a\nb", "--owner", "ann@example.com"], "NAME must be"),
        (["Acme", "--owner", "ann"], "--owner must be an e-mail address"),
        (["Acme"], "--owner"),
        (["Acme", "--owner", "ann@example.com", "--credit-dollars", "free"], "--credit-dollars must be an amount"),
        (["Acme", "--owner", "ann@example.com", "--credit-dollars=-5"], "--credit-dollars must be an amount"),
        (["Acme", "--owner", "ann@example.com", "--credit-dollars", "1000001"], "--credit-dollars may be at most"),
        (["Acme", "--owner", "ann@example.com", "--key-name", ""], "A key needs a name"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        create(*arguments)
    assert not Organization.objects.exists()
    assert not User.objects.exists()
    assert not Entry.objects.exists()


def test_too_many_keys_give_no_credit(settings: Settings) -> None:
    settings.MAX_LIVE_API_KEYS = 1
    create("Acme", "--owner", "ann@example.com")
    with pytest.raises(CommandError, match="live keys"):
        create("Acme", "--owner", "ann@example.com", "--credit-dollars", "20")
    assert not Entry.objects.exists()


def test_deactivated_owner_is_refused(alice: User) -> None:
    alice.is_active = False
    alice.save()
    with pytest.raises(CommandError, match="deactivated"):
        create("Acme", "--owner", alice.email)
