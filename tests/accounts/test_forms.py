"""Forms of accounts: what they take, and what they make of it."""

import re
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import mail
from django.test import Client

from accounts.forms import InviteForm, KeyForm, KeyLimitForm, dollars_of, roles_up_to
from accounts.models import Role, User

VICTIMS = {"email": "victim@example.com", "password1": "quiet river 42"}


def confirmation_path() -> str:
    """Return where the link of the newest mail leads."""
    return re.search(r"/accounts/confirm-email/[^\s/]+/", mail.outbox[-1].body).group()


def may_sign_in(password: str) -> bool:
    client = Client()
    client.post("/accounts/login/", {"login": "victim@example.com", "password": password})
    return client.get("/overview/").url.startswith("/o/")


def test_address_that_another_account_only_claims_is_free_to_sign_up_with(alice):
    EmailAddress.objects.create(user=alice, email="victim@example.com", verified=False)
    victim = Client()
    victim.post("/accounts/signup/", VICTIMS)
    assert mail.outbox[-1].to == ["victim@example.com"]
    victim.post(confirmation_path(), follow=True)
    assert EmailAddress.objects.get(email="victim@example.com", verified=True).user != alice
    assert may_sign_in("quiet river 42")
    # The claim is gone: no mail to this address leads into the other account any more.
    assert [address.email for address in EmailAddress.objects.filter(user=alice)] == [alice.email]


def test_sign_up_takes_no_proved_and_no_own_address(alice, charlie):
    EmailAddress.objects.create(user=alice, email="second@example.com", verified=True)
    EmailAddress.objects.filter(user=charlie).update(verified=False)
    for email in ("second@example.com", charlie.email):
        Client().post("/accounts/signup/", {"email": email, "password1": "quiet river 42"})
    assert {address.user for address in EmailAddress.objects.filter(email="second@example.com")} == {alice}
    assert {address.user for address in EmailAddress.objects.filter(email=charlie.email)} == {charlie}


@pytest.fixture
def hashed(settings):
    """Count the passwords that are hashed, by a hasher that does it as the first one of the settings."""
    CountingHasher.count = 0
    settings.PASSWORD_HASHERS = [f"{__name__}.CountingHasher"]
    return CountingHasher


class CountingHasher(MD5PasswordHasher):
    algorithm = "counting"
    count = 0

    def encode(self, password, salt):
        type(self).count += 1
        return super().encode(password, salt)


@pytest.mark.parametrize("existing", ["nobody", "verified", "unverified"])
def test_sign_up_hashes_and_mails_once_whether_or_not_the_address_has_an_account(db, hashed, existing):
    if existing != "nobody":
        user = User.objects.create(email="victim@example.com", password="!")
        EmailAddress.objects.create(user=user, email=user.email, verified=existing == "verified", primary=True)
    hashed.count = 0
    response = Client().post("/accounts/signup/", VICTIMS)
    assert (response.status_code, response["Location"]) == (302, "/accounts/confirm-email/")
    assert hashed.count == 1
    assert [message.to for message in mail.outbox] == [["victim@example.com"]]


@pytest.mark.parametrize(
    ("given", "micros"), [("", None), ("0", 0), ("0.01", 10_000), ("12.5", 12_500_000), ("1000000", 10**12)]
)
def test_limit_in_dollars_is_exact_in_micros(given, micros):
    for form in (key_form(monthly_limit=given), KeyLimitForm({"monthly_limit": given})):
        assert form.is_valid()
        assert form.monthly_limit_micros == micros
    assert dollars_of(micros) == ("" if micros is None else f"{Decimal(given):.2f}")


def key_form(**fields):
    return KeyForm({"name": "server", "monthly_limit": "", "scopes": ["transcribe"], **fields})


def test_key_works_until_its_last_day_ends():
    with time_machine.travel(datetime(2026, 11, 28, 23, 59, tzinfo=UTC), tick=False):
        form = key_form(expires_on="2026-11-28")
        assert form.is_valid()
        assert form.expires_at == datetime(2026, 11, 29, tzinfo=UTC)
        assert not key_form(expires_on="2026-11-27").is_valid()


def test_key_without_a_last_day_does_not_expire():
    form = key_form(expires_on="")
    assert form.is_valid()
    assert form.expires_at is None


@pytest.mark.parametrize(
    ("highest", "roles"),
    [
        (Role.MEMBER, [Role.MEMBER]),
        (Role.ADMIN, [Role.MEMBER, Role.ADMIN]),
        (Role.OWNER, [Role.MEMBER, Role.ADMIN, Role.OWNER]),
    ],
)
def test_invitation_offers_no_role_above_that_of_its_author(highest, roles):
    assert roles_up_to(highest) == roles
    form = InviteForm(highest=highest)
    assert [value for value, _ in form.fields["role"].choices] == roles
    for role in Role:
        assert InviteForm({"email": "a@example.com", "role": role}, highest=highest).is_valid() is (role in roles)


@pytest.mark.long
def test_code_of_an_authenticator_app_serves_once(alice):
    """Neither the one that added the app nor one that signed in, for as long as the clock lets it be valid."""

    def sign_in(code: str) -> bool:
        client = Client()
        client.post("/accounts/login/", {"login": alice.email, "password": "correct horse battery"})
        client.post("/accounts/2fa/authenticate/", {"code": code})
        return client.get("/overview/").url.startswith("/o/")

    with time_machine.travel(datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC), tick=False) as now:
        client = Client()
        client.post("/accounts/login/", {"login": alice.email, "password": "correct horse battery"})
        client.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
        client.get("/accounts/2fa/totp/activate/")
        secret = client.session["mfa.totp.secret"]
        first, second = (format_hotp_value(hotp_value(secret, int(time.time()) // 30 + step)) for step in (0, 1))
        client.post("/accounts/2fa/totp/activate/", {"code": first})
        assert Authenticator.objects.filter(user=alice, type=Authenticator.Type.TOTP).exists()
        assert not sign_in(first)
        assert sign_in(second)
        now.shift(31)
        assert not sign_in(second)
