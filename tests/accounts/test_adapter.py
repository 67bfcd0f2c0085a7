import re
import time
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from cryptography.fernet import InvalidToken
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts import api_keys
from accounts.adapter import AccountAdapter, MfaAdapter
from accounts.models import Membership, Role, User

ATTACKERS = {"email": "victim@example.com", "password1": "attackers own 42"}
VICTIMS = {"email": "victim@example.com", "password1": "quiet river 42"}


def confirmation_path() -> str:
    """Return where the link of the newest mail leads."""
    return re.search(r"/accounts/confirm-email/[^\s/]+/", mail.outbox[-1].body).group()


def may_sign_in(password: str) -> bool:
    client = Client()
    client.post("/accounts/login/", {"login": "victim@example.com", "password": password})
    return client.get("/overview/").url.startswith("/o/")


def choose(client: Client, page, password: str):
    """Fill the form for a new password that the page is; return the page that follows."""
    assert 'name="password1"' in page.content.decode()
    return client.post(page.request["PATH_INFO"], {"password1": password, "password2": password}, follow=True)


# --- Whose account it is ---------------------------------------------------------------------------------------------


@pytest.mark.long
def test_link_opened_in_another_browser_leads_to_choosing_a_password(db):
    Client().post("/accounts/signup/", ATTACKERS)
    victim = Client()
    page = victim.post(confirmation_path(), follow=True)
    assert "Choose a password: this link was opened in a different browser" in page.content.decode()
    assert not User.objects.get().has_usable_password()
    assert not may_sign_in("attackers own 42")
    entered = choose(victim, page, "quiet river 42")
    assert entered.redirect_chain[-2][0] == "/overview/"
    assert entered.context["organization"].is_verified
    assert may_sign_in("quiet river 42")
    assert not may_sign_in("attackers own 42")


@pytest.mark.long
def test_password_of_whoever_was_first_never_opens_the_account_of_the_true_owner(db):
    attacker = Client()
    attacker.post("/accounts/signup/", ATTACKERS)
    link = confirmation_path()
    victim = Client()
    victim.post("/accounts/signup/", VICTIMS)
    page = victim.post(link, follow=True)
    choose(victim, page, "another brook 43")
    assert not may_sign_in("attackers own 42")
    assert attacker.get("/overview/").url.startswith("/accounts/login/")
    assert "Your address is confirmed" in attacker.post(link).content.decode()
    assert attacker.get("/overview/").url.startswith("/accounts/login/")


def test_address_given_with_the_form_does_not_lead_past_the_choice(db):
    Client().post("/accounts/signup/", ATTACKERS)
    response = Client().post(confirmation_path(), {"next": "/accounts/login/"})
    assert response.url.startswith("/accounts/password/reset/key/")


@pytest.mark.long
def test_link_opened_in_the_same_browser_lets_in_with_the_same_password(db):
    client = Client()
    client.post("/accounts/signup/", VICTIMS)
    assert client.post(confirmation_path(), follow=True).redirect_chain[-2][0] == "/overview/"
    assert may_sign_in("quiet river 42")


@pytest.mark.long
def test_link_opened_late_in_the_same_browser_keeps_the_password(db):
    client = Client()
    client.post("/accounts/signup/", VICTIMS)
    session = client.session
    session["account_login"] = {**session["account_login"], "initiated_at": 1}
    session.save()
    assert client.post(confirmation_path()).url == "/accounts/login/"
    assert may_sign_in("quiet river 42")


def test_own_password_shown_again_at_the_sign_in_is_kept(db):
    Client().post("/accounts/signup/", VICTIMS)
    link = confirmation_path()
    elsewhere = Client()
    elsewhere.post("/accounts/login/", {"login": "victim@example.com", "password": "quiet river 42"})
    assert elsewhere.post(link, follow=True).redirect_chain[-2][0] == "/overview/"


def test_second_address_changes_no_password(alice):
    second = EmailAddress.objects.create(user=alice, email="alice@second.example", verified=False)
    link = f"/accounts/confirm-email/{EmailConfirmationHMAC.create(second).key}/"
    assert Client().post(link).url == "/accounts/login/"
    assert EmailAddress.objects.get(pk=second.pk).verified
    alice.refresh_from_db()
    assert alice.check_password("correct horse battery")


def test_second_sign_up_with_an_unproved_address_mails_the_link_again(db):
    Client().post("/accounts/signup/", ATTACKERS)
    cache.clear()
    mail.outbox.clear()
    victim = Client()
    victim.post("/accounts/signup/", VICTIMS)
    assert [message.to for message in mail.outbox] == [["victim@example.com"]]
    page = victim.post(confirmation_path(), follow=True)
    assert "Choose a password" in page.content.decode()
    assert User.objects.count() == 1


def test_sign_up_with_a_proved_address_mails_that_there_is_an_account(alice):
    Client().post("/accounts/signup/", {"email": alice.email, "password1": "quiet river 42"})
    assert "already has an account" in mail.outbox[-1].body
    assert "confirm-email" not in mail.outbox[-1].body


@pytest.mark.long
def test_person_has_a_few_addresses_at_most(alice, client_of):
    client = client_of(alice)
    client.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
    for number in range(5):
        client.post("/accounts/email/", {"action_add": "", "email": f"stranger{number}@example.com"})
    assert EmailAddress.objects.filter(user=alice).count() == 3


# --- Whence it comes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "6.6.6.6", "127.0.0.1"),
        (1, "6.6.6.6, 10.1.1.1", "10.1.1.1"),
        (2, "6.6.6.6, 10.1.1.1, 192.0.2.7", "10.1.1.1"),
        (1, "", "127.0.0.1"),
        (2, "6.6.6.6", "127.0.0.1"),
    ],
)
def test_number_of_proxies_decides_which_address_counts(rf, settings, proxies, forwarded, address):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = rf.get("/accounts/login/", headers=headers)
    assert AccountAdapter(request).get_client_ip(request) == address


@pytest.mark.long
def test_invented_addresses_do_not_lift_the_limit_of_sign_ins(alice, settings):
    """The attack: another X-Forwarded-For with every guess."""
    cache.clear()
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1

    def guess(number):
        headers = {"X-Forwarded-For": f"6.6.6.{number}, 192.0.2.7"}
        form = {"login": f"person{number}@example.com", "password": "a guess"}
        return Client().post("/accounts/login/", form, headers=headers)

    answers = [guess(number) for number in range(12)]
    assert b"Too many failed sign-ins. Try again in 1 minute." in answers[-1].content
    assert b"Too many failed" not in answers[0].content


# --- Keys after a new password ---------------------------------------------------------------------------------------


def issue_keys(alice, organization) -> None:
    api_keys.issue(organization, name="production", by=alice)
    old, _ = api_keys.issue(organization, name="retired", by=alice)
    api_keys.revoke(organization, key_id=old.pk)
    ended, _ = api_keys.issue(organization, name="ended", by=alice, expires_at=timezone.now() + timedelta(days=1))
    type(ended).objects.filter(pk=ended.pk).update(expires_at=timezone.now())


def test_new_password_mails_the_owner_which_keys_live(alice, organization, charlies, client_of):
    issue_keys(alice, organization)
    api_keys.issue(charlies, name="strangers", by=None)
    Membership.objects.create(organization=charlies, user=alice, role=Role.ADMIN)
    fields = {"oldpassword": "correct horse battery", "password1": "quiet river 42", "password2": "quiet river 42"}
    client_of(alice).post("/accounts/password/change/", fields)
    (message,) = mail.outbox
    key = organization.api_keys.get(name="production")
    assert message.to == [alice.email]
    assert f"/o/{organization.pk}/keys/\n- “production” ({key.prefix}…)\n" in message.body
    assert not re.search(r"retired|ended|strangers", message.body)
    assert not re.search(r"vxp_live_\w{5}", message.body)


@pytest.mark.long
def test_reset_password_mails_the_keys_too_and_no_keys_are_no_words(alice, organization):
    for has_keys in (False, True):
        if has_keys:
            issue_keys(alice, organization)
        client = Client()
        client.post("/accounts/password/reset/", {"email": alice.email})
        path = re.search(r"/accounts/password/reset/key/[^\s/]+/", mail.outbox[-1].body).group()
        choose(client, client.get(path, follow=True), f"quiet river 4{has_keys:d}")
        assert ("production" in mail.outbox[-1].body) is has_keys
        assert ("API keys" in mail.outbox[-1].body) is has_keys


# --- Links in mails --------------------------------------------------------------------------------------------------


def ask_for_every_mail(host: str) -> list[str]:
    """Ask, with this Host header, for every mail that has a link; return their texts."""
    ask = Client(headers={"host": host})
    ask.post("/accounts/signup/", VICTIMS)
    cache.clear()
    for email in ("alice@example.com", "nobody@example.com"):
        ask.post("/accounts/password/reset/", {"email": email})
    ask.post("/accounts/signup/", {"email": "alice@example.com", "password1": "quiet river 42"})
    return [message.body for message in mail.outbox]


def test_forged_host_is_in_no_mail_of_production(alice, settings):
    settings.DEVELOPMENT = False
    settings.SITE_URL = "https://voxsite.example"
    settings.ALLOWED_HOSTS = ["*"]
    texts = ask_for_every_mail("evil.example")
    assert len(texts) == 4
    for text in texts:
        assert "https://voxsite.example/accounts/" in text
        assert "evil.example" not in text


def test_development_links_to_the_address_that_was_typed(alice, settings):
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    for text in ask_for_every_mail("127.0.0.1:8123"):
        assert "http://127.0.0.1:8123/accounts/" in text


# --- Second factors --------------------------------------------------------------------------------------------------


def test_totp_secret_is_encrypted_at_rest(alice):
    secret = generate_totp_secret()
    TOTP.activate(alice, secret)
    assert secret not in str(Authenticator.objects.values().get())


def test_keys_are_rotated(settings):
    settings.FIELD_KEYS = ["old"]
    stored = MfaAdapter().encrypt("seed")
    settings.FIELD_KEYS = ["new", "old"]
    assert MfaAdapter().decrypt(stored) == "seed"
    settings.FIELD_KEYS = ["new"]
    with pytest.raises(InvalidToken):
        MfaAdapter().decrypt(stored)


# --- Locked out ------------------------------------------------------------------------------------------------------


def sign_in(email: str, password: str) -> str:
    return Client().post("/accounts/login/", {"login": email, "password": password}).content.decode()


@pytest.mark.long
@pytest.mark.parametrize("email", ["alice@example.com", "nobody@example.com"])
def test_lock_out_says_how_long_and_what_helps(alice, email, monkeypatch):
    """Also for an address without an account: the answer tells nobody whether there is one."""
    for _ in range(5):
        assert "Wrong email or password." in sign_in(email, "wrong")
    page = sign_in(email, "correct horse battery")
    assert "Too many failed sign-ins. Try again in 5 minutes." in page
    assert "reset your password or use a passkey" in page
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 250)
    assert "Try again in 1 minute." in sign_in(email, "wrong")


@pytest.mark.long
def test_lock_out_ends_when_it_said(alice, monkeypatch):
    for _ in range(6):
        sign_in("alice@example.com", "wrong")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 301)
    response = Client().post("/accounts/login/", {"login": "alice@example.com", "password": "correct horse battery"})
    assert response.status_code == 302


@pytest.mark.long
def test_new_password_ends_a_lock_out(alice, organization):
    for _ in range(6):
        sign_in("alice@example.com", "wrong")
    client = Client()
    client.post("/accounts/password/reset/", {"email": "alice@example.com"})
    link = re.search(r"/accounts/password/reset/key/[^\s/]+/", mail.outbox[-1].body).group()
    choose(client, client.get(link, follow=True), "quiet river 42")
    assert client.get("/overview/").url == f"/o/{organization.pk}/overview/"


@pytest.mark.long
def test_lock_out_of_the_ip_address_says_how_long_too(alice):
    for number in range(10):
        sign_in(f"{number}@example.com", "wrong")
    assert "Try again in 1 minute." in sign_in("alice@example.com", "correct horse battery")


@pytest.mark.long
def test_too_many_requests_have_a_page_of_ours(db):
    for _ in range(31):
        response = Client().post("/accounts/login/", {"login": "", "password": ""})
    assert response.status_code == 429
    assert response["Retry-After"] == "60"
    assert "Wait a minute" in response.content.decode()
    assert "voxsite.css" in response.content.decode()
