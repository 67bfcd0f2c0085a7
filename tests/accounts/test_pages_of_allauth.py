"""Pages of django-allauth in our frame: signing up and in, and a person's own account."""

import re

import pytest
from django.core import mail
from django.test import Client

ACCOUNT_PAGES = [
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/2fa/",
    "/accounts/2fa/webauthn/",
    "/accounts/sessions/",
    "/accounts/logout/",
]


@pytest.mark.long
@pytest.mark.parametrize("path", ACCOUNT_PAGES)
def test_account_pages_have_our_frame(alice, organization, client_of, path):
    page = client_of(alice).get(path).content.decode()
    assert 'class="frame"' in page
    assert "Menu:" not in page


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"])
def test_entrance_pages_have_our_look(db, path):
    page = Client().get(path).content.decode()
    assert 'class="entrance"' in page
    assert "Menu:" not in page


def test_sign_up_mails_a_link_that_lets_in(db):
    client = Client()
    response = client.post(
        "/accounts/signup/", {"email": "eve@example.com", "password1": "quiet river 42"}, follow=True
    )
    assert "Check your email" in response.content.decode()
    assert client.get("/overview/").status_code == 302
    path = re.search(r"/accounts/confirm-email/[^\s/]+/", mail.outbox[-1].body).group()
    assert "Confirm address" in client.get(path).content.decode()
    entered = client.post(path, follow=True)
    assert entered.redirect_chain[-2][0] == "/overview/"
    assert entered.context["organization"].is_verified


@pytest.mark.long
def test_broken_link_of_a_password_reset_says_so(db):
    page = Client().get("/accounts/password/reset/key/1-set-password/").content.decode()
    assert "This link no longer works" in page
    assert 'href="/accounts/password/reset/"' in page
