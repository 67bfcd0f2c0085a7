"""Signing in with Google and GitHub: whose account opens, whose never does, and what comes with a new one."""

import logging
import time
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.contrib.auth.hashers import make_password
from django.core import mail
from django.test import Client

from accounts import account_deletion
from accounts.models import AuditAction, AuditEntry, Membership, Organization, User
from billing import statements
from tests.identity_provider import Account

PROVIDERS = ("google", "github")
PASSWORD = "correct horse battery"


def begin(client, name, *, process="login", **query):
    """Press the button of a provider, and agree there; return the address to which the provider sends the browser."""
    words = "&".join(f"{key}={value}" for key, value in {"process": process, **query}.items())
    leaving = client.post(f"/accounts/{name}/login/?{words}")
    assert leaving.status_code == 302
    page = requests.get(leaving["Location"], timeout=10)
    consent = f"{leaving['Location'].partition('/o/')[0].partition('/login/')[0]}/consent?{urlsplit(page.url).query}"
    return (
        requests.get(consent, allow_redirects=False, timeout=10).headers["Location"].removeprefix("http://testserver")
    )


def sign_in(client, name, **fields):
    """Sign in with a provider. Returns the page that the browser shows at last."""
    return client.get(begin(client, name, **fields), follow=True)


def is_signed_in(client):
    return "_auth_user_id" in client.session


def person_of(client):
    return int(client.session["_auth_user_id"])


def totp_of(user):
    """Give a person an authenticator app; return what shows its code."""
    secret = generate_totp_secret()
    TOTP.activate(user, secret)

    def code():
        # Of this half minute: the site takes that of the one before too.
        return format_hotp_value(hotp_value(secret, int(time.time()) // 30))

    return code


# --- Off -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/accounts/google/login/", "/accounts/github/login/", "/accounts/github/login/callback/"]
)
def test_without_a_switch_the_addresses_do_not_exist(db, path):
    assert Client().post(path).status_code == 404


def test_without_a_switch_no_page_speaks_of_it(alice, organization, client_of):
    for path in ("/accounts/login/", "/accounts/signup/"):
        assert "Google" not in Client().get(path).content.decode()
    visitor = client_of(alice)
    assert "Connected accounts" not in visitor.get("/accounts/email/").content.decode()
    assert visitor.get("/accounts/3rdparty/").status_code == 404


# --- New accounts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS)
def test_new_person_gets_an_organization_and_the_credit_at_once(provider, name):
    client = Client()
    page = sign_in(client, name)
    assert page.redirect_chain[-1][0].endswith("/overview/")
    assert page.context["organization"].is_verified
    organization = Organization.objects.get(memberships__user=person_of(client))
    assert statements.balance(organization).available_micros == 1_000_000
    address = EmailAddress.objects.get(user=person_of(client))
    assert (address.email, address.verified, address.primary) == ("ann@example.com", True, True)
    assert AuditEntry.objects.of(organization).filter(action=AuditAction.SIGN_IN_ADDED).count() == 1


def test_second_visit_opens_the_same_account_whatever_the_address_is_now(provider):
    first, second = Client(), Client()
    sign_in(first, "github")
    provider.account = Account(addresses=(("moved@example.com", False),))
    sign_in(second, "github")
    assert person_of(second) == person_of(first)
    assert User.objects.count() == 1


def test_account_of_the_same_number_on_another_server_opens_nothing(provider, settings):
    first, second, third = Client(), Client(), Client()
    sign_in(first, "github")
    github = settings.SOCIALACCOUNT_PROVIDERS["github"]
    settings.SOCIALACCOUNT_PROVIDERS = {"github": github | {"GITHUB_URL": "https://git.example.com"}}
    provider.account = Account(addresses=(("eve@example.com", True),))
    sign_in(second, "github")
    assert person_of(second) != person_of(first)
    provider.account = Account(addresses=(("moved@example.com", False),))
    sign_in(third, "github")
    assert person_of(third) == person_of(second)


def test_nothing_is_kept_that_is_not_shown(provider):
    sign_in(Client(), "github")
    sign_in(Client(), "google")
    shown = sorted(SocialAccount.objects.values_list("provider", "extra_data"))
    assert shown == [("github", {"name": "ann"}), ("google", {"name": "ann@example.com"})]
    assert SocialToken.objects.count() == 0


def test_sign_in_goes_on_to_the_page_that_asked_for_it(provider):
    page = sign_in(Client(), "google", next="/organization/new/")
    assert page.redirect_chain[-1][0] == "/organization/new/"


def test_github_address_that_is_primary_is_taken_of_several(provider):
    provider.account = Account(addresses=(("first@example.com", True), ("alpha@example.com", True)))
    client = Client()
    sign_in(client, "github")
    assert User.objects.get(pk=person_of(client)).email == "first@example.com"
    assert EmailAddress.objects.count() == 1


@pytest.mark.parametrize("name", PROVIDERS)
def test_address_that_the_provider_has_not_verified_makes_no_account(provider, name):
    provider.account = Account(addresses=(("ann@example.com", False),))
    client = Client()
    page = sign_in(client, name)
    assert "has not confirmed your email address" in page.content.decode()
    assert not is_signed_in(client)
    assert (User.objects.count(), SocialAccount.objects.count()) == (0, 0)


@pytest.mark.parametrize("process", ["foo", "", "LOGIN", "redirect"])
@pytest.mark.parametrize("addresses", [(("ann@example.com", False),), ()])
def test_word_in_the_address_of_the_button_changes_nothing(provider, process, addresses):
    """The attack: allauth takes the word as it comes, and signs in by any that it does not know."""
    provider.account = Account(addresses=addresses)
    client = Client()
    page = sign_in(client, "github", process=process)
    assert not is_signed_in(client)
    assert (User.objects.count(), SocialAccount.objects.count(), mail.outbox) == (0, 0, [])
    assert "3rdparty" not in str(page.redirect_chain)


def test_unproved_address_beside_a_proved_one_is_not_stored_by_any_word(provider):
    provider.account = Account(addresses=(("eve@example.com", True), ("ann@example.com", False)))
    sign_in(Client(), "github", process="foo")
    assert list(EmailAddress.objects.values_list("email", "verified")) == [("eve@example.com", True)]


def test_form_that_takes_any_address_does_not_exist(provider):
    assert Client().get("/accounts/3rdparty/signup/").status_code == 404
    assert Client().post("/accounts/3rdparty/signup/", {"email": "ann@example.com"}).status_code == 404


def test_sign_ups_are_limited_by_address_as_those_with_a_password(provider, settings):
    settings.ACCOUNT_RATE_LIMITS = {"signup": "1/m/ip"}
    sign_in(Client(), "google")
    provider.account = Account(uid=5, addresses=(("eve@example.com", True),))
    assert sign_in(Client(), "google").status_code == 429
    assert User.objects.count() == 1


# --- Accounts that are there -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS)
def test_address_that_both_sides_have_proved_opens_its_account_and_connects_it(provider, alice, organization, name):
    provider.account = Account(addresses=(("Alice@Example.com", True),))
    client = Client()
    sign_in(client, name)
    assert person_of(client) == alice.pk
    assert SocialAccount.objects.get().user == alice
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    told = mail.outbox[-1]
    assert (told.to, "was connected" in told.subject) == (["alice@example.com"], True)
    assert AuditEntry.objects.of(organization).get(action=AuditAction.SIGN_IN_ADDED).user == alice


@pytest.mark.parametrize("name", PROVIDERS)
def test_stranger_with_an_unverified_address_there_does_not_get_in(provider, alice, organization, name):
    provider.account = Account(addresses=(("alice@example.com", False),))
    client = Client()
    sign_in(client, name)
    assert not is_signed_in(client)
    assert SocialAccount.objects.count() == 0


def test_second_address_there_that_is_unverified_opens_nothing(provider, alice, organization):
    provider.account = Account(addresses=(("eve@example.com", True), ("alice@example.com", False)))
    client = Client()
    sign_in(client, "github")
    assert person_of(client) != alice.pk
    assert User.objects.get(pk=person_of(client)).email == "eve@example.com"


@pytest.mark.parametrize("name", PROVIDERS)
def test_account_here_whose_address_is_not_proved_is_not_opened(provider, name):
    """Somebody signed up with another person's address, and waits for that person to come by their provider."""
    squatter = User.objects.create(email="ann@example.com", password=make_password(PASSWORD))
    EmailAddress.objects.create(user=squatter, email="ann@example.com", verified=False, primary=True)
    client = Client()
    page = sign_in(client, name)
    assert not is_signed_in(client)
    assert SocialAccount.objects.count() == 0
    assert "Check your email" in page.content.decode()
    # The owner of the address takes the account by the mail, which ends the squatter's password.
    link = next(line for line in mail.outbox[-1].body.splitlines() if "/confirm-email/" in line)
    confirmed = client.post(urlsplit(link.strip()).path, follow=True)
    assert "new password" in confirmed.content.decode().lower()
    squatter.refresh_from_db()
    assert not squatter.has_usable_password()
    fresh = Client()
    sign_in(fresh, name)
    assert person_of(fresh) == squatter.pk


def test_unproved_second_address_of_a_stranger_does_not_keep_its_owner_out(provider, charlie):
    EmailAddress.objects.create(user=charlie, email="ann@example.com", verified=False, primary=False)
    client = Client()
    sign_in(client, "google")
    assert person_of(client) != charlie.pk
    assert User.objects.get(pk=person_of(client)).email == "ann@example.com"


def test_link_opened_elsewhere_ends_the_sign_ins_that_a_stranger_may_have_connected(provider):
    squatter = User.objects.create(email="ann@example.com", password=make_password(PASSWORD))
    EmailAddress.objects.create(user=squatter, email="ann@example.com", verified=False, primary=True)
    SocialAccount.objects.create(user=squatter, provider="github", uid="666")
    Client().post("/accounts/signup/", {"email": "ann@example.com", "password1": "quiet river 42"})
    link = next(line for line in mail.outbox[-1].body.splitlines() if "/confirm-email/" in line)
    Client().post(urlsplit(link.strip()).path)
    assert SocialAccount.objects.count() == 0


def test_new_password_of_the_owner_does_not_keep_what_a_stranger_has_connected(provider):
    """In the browser in which the owner chose a password, which knows it, the link to confirm is opened."""
    squatter = User.objects.create(email="ann@example.com", password=make_password(PASSWORD))
    EmailAddress.objects.create(user=squatter, email="ann@example.com", verified=False, primary=True)
    SocialAccount.objects.create(user=squatter, provider="github", uid="666")
    owner = Client()
    owner.post("/accounts/login/", {"login": "ann@example.com", "password": PASSWORD})
    link = next(line for line in mail.outbox[-1].body.splitlines() if "/confirm-email/" in line)
    owner.post(urlsplit(link.strip()).path)
    assert EmailAddress.objects.get().verified
    assert SocialAccount.objects.count() == 0
    squatter.refresh_from_db()
    assert squatter.has_usable_password()


def test_second_factor_is_asked_for_and_nothing_is_connected_before(provider, alice, organization):
    code = totp_of(alice)
    provider.account = Account(addresses=(("alice@example.com", True),))
    client = Client()
    page = sign_in(client, "google")
    assert page.redirect_chain[-1][0].startswith("/accounts/2fa/authenticate/")
    assert not is_signed_in(client)
    assert SocialAccount.objects.count() == 0
    client.post("/accounts/2fa/authenticate/", {"code": code()})
    assert person_of(client) == alice.pk
    assert SocialAccount.objects.get().user == alice
    again = Client()
    assert sign_in(again, "google").redirect_chain[-1][0].startswith("/accounts/2fa/authenticate/")
    assert not is_signed_in(again)


def test_deleted_account_is_not_opened(provider, alice, organization):
    provider.account = Account(addresses=(("alice@example.com", True),))
    sign_in(Client(), "google")
    account_deletion.order(alice, revokes_keys=True)
    client = Client()
    sign_in(client, "google")
    assert not is_signed_in(client)


def test_deletion_takes_the_connected_accounts(provider, alice, organization, settings):
    settings.DELETION_GRACE_DAYS = 0
    provider.account = Account(addresses=(("alice@example.com", True),))
    sign_in(Client(), "google")
    account_deletion.order(alice, revokes_keys=True)
    alice.refresh_from_db()
    account_deletion.delete_due(now=alice.delete_at)
    assert SocialAccount.objects.count() == 0
    client = Client()
    sign_in(client, "google")
    assert person_of(client) != alice.pk


# --- What goes wrong -------------------------------------------------------------------------------------------------


def test_person_who_does_not_agree_is_told_so(provider):
    client = Client()
    leaving = client.post("/accounts/github/login/")["Location"]
    query = urlsplit(leaving).query
    back = requests.get(f"{provider.address}/refuse?{query}", allow_redirects=False, timeout=10).headers["Location"]
    page = client.get(back.removeprefix("http://testserver"), follow=True)
    assert "Sign-in canceled" in page.content.decode()
    assert not is_signed_in(client)


@pytest.mark.parametrize("name", PROVIDERS)
def test_provider_that_fails_is_an_error_page_and_no_account(provider, name):
    provider.is_broken = True
    client = Client()
    page = sign_in(client, name)
    assert page.status_code == 401
    assert "Sign-in did not work" in page.content.decode()
    assert User.objects.count() == 0


def test_answer_of_another_browser_signs_nobody_in(provider):
    """The attack: have a victim open the answer to one's own sign-in, and so work in one's account."""
    back = begin(Client(), "google")
    victim = Client()
    assert victim.get(back).status_code == 401
    assert not is_signed_in(victim)


def test_code_serves_once(provider):
    client = Client()
    back = begin(client, "google")
    client.get(back)
    assert client.get(back).status_code == 401


def test_link_alone_does_not_start_a_sign_in(provider):
    page = Client().get("/accounts/google/login/")
    assert (page.status_code, "Continue to Google" in page.content.decode()) == (200, True)
    assert provider.asked == []


def test_only_the_address_is_asked_for(provider):
    scopes = {}
    for name in PROVIDERS:
        query = parse_qs(urlsplit(Client().post(f"/accounts/{name}/login/")["Location"]).query)
        scopes[name] = set(query["scope"][0].split())
        assert query["code_challenge_method"] == ["S256"]
    assert scopes == {"google": {"openid", "email"}, "github": {"user:email"}}


def test_log_names_the_act_and_not_the_account(provider, caplog):
    with caplog.at_level(logging.INFO, logger="accounts.social_sign_in"):
        sign_in(Client(), "github")
    (line,) = caplog.messages
    assert line.startswith("sign_in.added: user ")
    assert "ann" not in line


def test_members_of_an_organization_see_it_in_the_activity(provider, alice, organization, client_of):
    provider.account = Account(addresses=(("alice@example.com", True),))
    sign_in(Client(), "github")
    page = client_of(alice).get("/activity/").content.decode()
    assert "added a way to sign in" in page
    assert "GitHub" in page
    assert Membership.objects.filter(organization=organization).count() == 1
