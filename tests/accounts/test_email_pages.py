"""Pages of e-mail addresses: only what is possible is offered, and everything says what came of it."""

import re

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail, signing
from django.test import Client

from accounts.models import User

PATH = "/accounts/email/"


@pytest.fixture
def client(alice, organization, client_of):
    return client_of(alice)


def link_of(address: EmailAddress) -> str:
    return f"/accounts/confirm-email/{EmailConfirmationHMAC.create(address).key}/"


def acts(page: str) -> list[str]:
    return re.findall(r'name="(action_\w+)"', page)


def test_only_address_offers_nothing_that_would_be_refused(client):
    page = client.get(PATH).content.decode()
    assert acts(page) == ["action_add"]
    assert "To change it, add the new address below" in page


def test_each_address_offers_what_is_possible(client, alice):
    EmailAddress.objects.create(user=alice, email="new@example.com", verified=False)
    EmailAddress.objects.create(user=alice, email="old@example.com", verified=True)
    page = client.get(PATH).content.decode()
    of_new = page.split("<strong>new@example.com")[1].split("</form>")[0]
    of_old = page.split("<strong>old@example.com")[1].split("</form>")[0]
    assert acts(of_new) == ["action_send", "action_remove"]
    assert acts(of_old) == ["action_primary", "action_remove"]
    assert acts(page).count("action_primary") == 1


def test_full_list_says_why_there_is_no_form(client, alice, settings):
    for number in range(settings.ACCOUNT_MAX_EMAIL_ADDRESSES - 1):
        EmailAddress.objects.create(user=alice, email=f"{number}@example.com", verified=True)
    assert "Remove one to add another" in client.get(PATH).content.decode()


@pytest.mark.long
@pytest.mark.parametrize("act", ["action_remove", "action_primary"])
def test_act_from_an_older_page_says_what_came_of_it(client, alice, act):
    page = client.post(PATH, {"email": alice.email, act: ""}, follow=True).content.decode()
    assert 'class="notes" role="status"' in page
    assert EmailAddress.objects.get(user=alice).primary


def test_link_that_is_not_sent_again_says_so(client, alice):
    client.post(PATH, {"email": "new@example.com", "action_add": ""})
    assert len(mail.outbox) == 1
    page = client.post(PATH, {"email": "new@example.com", "action_send": ""}, follow=True).content.decode()
    assert "A link was sent in the last three minutes." in page
    assert len(mail.outbox) == 1


@pytest.mark.long
def test_address_is_changed_with_a_second_factor(client, alice):
    TOTP.activate(alice, generate_totp_secret())
    added = client.post(PATH, {"email": "new@example.com", "action_add": ""}, follow=True)
    assert "new@example.com" in added.content.decode()
    new = EmailAddress.objects.get(email="new@example.com")
    client.post(link_of(new))
    client.post(PATH, {"email": "new@example.com", "action_primary": ""})
    client.post(PATH, {"email": "alice@example.com", "action_remove": ""})
    alice.refresh_from_db()
    assert alice.email == "new@example.com"
    assert EmailAddress.objects.get(user=alice) == new
    assert Authenticator.objects.filter(user=alice).exists()


def test_nobody_gets_a_second_factor_before_their_address_is_confirmed(db):
    """allauth's guard against it is off, because it would keep addresses from being changed."""
    client = Client()
    client.post("/accounts/signup/", {"email": "victim@example.com", "password1": "attackers own 42"})
    assert client.get("/accounts/2fa/totp/activate/").status_code == 302
    assert User.objects.get().emailaddress_set.get().verified is False


# --- Links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "post"])
def test_used_link_says_that_the_address_is_confirmed(alice, organization, method):
    page = getattr(Client(), method)(link_of(EmailAddress.objects.get(user=alice))).content.decode()
    assert "Your address is confirmed" in page
    assert "alice@example.com" in page
    assert "no longer works" not in page


def test_used_link_lets_nobody_in(alice, organization):
    client = Client()
    client.post(link_of(EmailAddress.objects.get(user=alice)))
    assert client.get("/overview/").status_code == 302


def test_used_link_leads_its_person_on(client, alice):
    response = client.get(link_of(EmailAddress.objects.get(user=alice)), follow=True)
    assert response.redirect_chain == [("/overview/", 302)]
    assert "alice@example.com is confirmed." in response.content.decode()


def test_used_link_signs_out_nobody_else(alice, bob, client_of):
    client = client_of(bob)
    assert "Your address is confirmed" in client.get(link_of(EmailAddress.objects.get(user=alice))).content.decode()
    assert client.get("/overview/").status_code == 200


@pytest.mark.parametrize("kind", ["nonsense", "another salt", "forged"])
def test_forged_link_does_not_work(alice, organization, kind):
    # Not a parameter: the signature has the time, and all processes of a run must name a test alike.
    key = {"nonsense": kind, "another salt": signing.dumps(obj=1, salt="another"), "forged": "MQ:1aaaaa:forged"}[kind]
    page = Client().get(f"/accounts/confirm-email/{key}/").content.decode()
    assert "This link no longer works" in page
    assert "alice@example.com" not in page


def test_old_link_does_not_work(alice, organization, settings):
    path = link_of(EmailAddress.objects.get(user=alice))
    settings.ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = -1
    assert "This link no longer works" in Client().get(path).content.decode()


def test_link_is_asked_about_first(alice, organization):
    new = EmailAddress.objects.create(user=alice, email="new@example.com", verified=False)
    page = Client().get(link_of(new)).content.decode()
    assert "Confirm address" in page
    new.refresh_from_db()
    assert not new.verified
