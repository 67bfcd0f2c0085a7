"""The page of connected accounts: what it shows, connecting one more, and removing one."""

import pytest
from allauth.socialaccount.models import SocialAccount
from django.core import mail
from django.test import Client

from accounts.models import AuditAction, AuditEntry
from tests.accounts.test_social_sign_in import PASSWORD, person_of, sign_in
from tests.identity_provider import Account

PAGE = "/accounts/3rdparty/"


@pytest.fixture
def visitor(provider, alice, organization):
    """A browser in which Alice has signed in, and has just confirmed that it is her."""
    provider.account = Account(login="alice-at-hub", addresses=(("other@example.com", True),))
    client = Client()
    client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    assert person_of(client) == alice.pk
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


def test_account_with_another_address_is_connected_on_the_page_and_then_signs_in(visitor, alice):
    page = sign_in(visitor, "github", process="connect").content.decode()
    assert "alice-at-hub" in page
    assert "Remove" in page
    assert "was connected" in mail.outbox[-1].subject
    other = Client()
    sign_in(other, "github")
    assert person_of(other) == alice.pk


def test_account_of_somebody_else_is_not_taken_over(visitor, charlie):
    SocialAccount.objects.create(user=charlie, provider="github", uid="4711", extra_data={"name": "x"})
    page = sign_in(visitor, "github", process="connect").content.decode()
    assert "connected with another Voxsite account" in page
    assert SocialAccount.objects.get().user == charlie


def test_removed_account_no_longer_signs_in(visitor, alice, organization):
    sign_in(visitor, "github", process="connect")
    row = SocialAccount.objects.get()
    page = visitor.post(PAGE, {"account": row.pk}, follow=True).content.decode()
    assert "No accounts connected" in page
    assert "was removed" in mail.outbox[-1].subject
    assert AuditEntry.objects.of(organization).filter(action=AuditAction.SIGN_IN_REMOVED).count() == 1
    other = Client()
    sign_in(other, "github")
    assert person_of(other) != alice.pk


def test_account_of_somebody_else_cannot_be_removed(visitor, charlie):
    row = SocialAccount.objects.create(user=charlie, provider="github", uid="1", extra_data={"name": "x"})
    visitor.post(PAGE, {"account": row.pk})
    assert SocialAccount.objects.filter(pk=row.pk).exists()


@pytest.mark.long
def test_last_way_to_sign_in_stays_until_there_is_a_password(provider):
    client = Client()
    sign_in(client, "github")
    row = SocialAccount.objects.get()
    page = client.post(PAGE, {"account": row.pk}).content.decode()
    assert "Set a password first" in page
    assert SocialAccount.objects.filter(pk=row.pk).exists()
    client.post("/accounts/password/set/", {"password1": "quiet river 42", "password2": "quiet river 42"})
    # A change that needs it asks for the new password first.
    client.post("/accounts/reauthenticate/", {"password": "quiet river 42"})
    client.post(PAGE, {"account": row.pk})
    assert not SocialAccount.objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize("act", ["connect", "remove"])
def test_changes_ask_for_the_password_in_a_browser_that_was_left_signed_in(
    provider, alice, organization, client_of, act
):
    row = SocialAccount.objects.create(user=alice, provider="google", uid="1", extra_data={"name": "x"})
    visitor = client_of(alice)
    page = (
        sign_in(visitor, "github", process="connect") if act == "connect" else visitor.post(PAGE, {"account": row.pk})
    )
    asked = page.redirect_chain[-1][0] if act == "connect" else page["Location"]
    assert asked.startswith("/accounts/reauthenticate/")
    assert list(SocialAccount.objects.values_list("pk", flat=True)) == [row.pk]


def test_page_is_of_signed_in_people(provider):
    assert Client().get(PAGE)["Location"].startswith("/accounts/login/")
