"""An account is shut at once and deleted after the grace; organizations of others notice only that a member left."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts import account_deletion, api_keys, closures, organizations
from accounts.errors import Conflict, NotFound
from accounts.models import Invitation, Membership, Organization, Role, User
from billing import ledger
from tests.conftest import Api, Visitor, make_user
from tests.transcription.factories import make_job
from transcription.models import Status

PASSWORD = "correct horse battery"
DELETE = "/accounts/delete/"


@pytest.fixture
def dora(db):
    return make_user("dora@example.com")


def signed_in(user):
    """A browser whose person has just typed the password."""
    client = Visitor(user)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


def pass_grace(user):
    User.objects.filter(pk=user.pk).update(delete_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.long
def test_account_is_shut_at_once(alice, organization):
    _, secret = api_keys.issue(organization, name="x", by=alice)
    job = make_job(organization)
    first, second = signed_in(alice), signed_in(alice)
    answer = first.post(DELETE)
    assert "Your account is deleted" in answer.content.decode()
    for browser in (first, second):
        assert browser.get("/accounts/email/").headers["Location"].startswith("/accounts/login/")
    assert not UserSession.objects.filter(user=alice).exists()
    again = Client()
    again.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    assert again.get("/accounts/email/").status_code == 302
    # Alice was alone in it.
    organization.refresh_from_db()
    job.refresh_from_db()
    assert organization.is_closed
    assert job.status == Status.CANCELED
    assert Api(secret).get("/v1/jobs").status_code == 401
    assert mail.outbox[-1].to == [alice.email]


def test_password_is_asked_for(alice, client_of):
    browser = client_of(alice)
    for answer in (browser.get(DELETE), browser.post(DELETE)):
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/accounts/reauthenticate/")
    alice.refresh_from_db()
    assert alice.is_active
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    assert browser.get(DELETE).status_code == 200


def test_visitors_are_led_to_sign_in(db):
    assert Client().post(DELETE).headers["Location"].startswith("/accounts/login/")


def test_only_owner_of_others_is_refused(alice, organization, bob):
    own = organizations.create(name="Alone", owner=alice)
    browser = signed_in(alice)
    assert f"/o/{organization.pk}/organization/" in browser.get(DELETE).content.decode()
    answer = browser.post(DELETE)
    assert answer.status_code == 409
    assert f"only owner of {organization.name}" in answer.content.decode()
    # Nothing of it was done.
    for one in (organization, own):
        one.refresh_from_db()
        assert not one.is_closed
    alice.refresh_from_db()
    assert alice.is_active
    assert organization.memberships.count() == 2
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    account_deletion.order(alice, revokes_keys=True)
    organization.refresh_from_db()
    own.refresh_from_db()
    assert (organization.is_closed, own.is_closed) == (False, True)
    assert organization.memberships.get().user == bob


@pytest.mark.parametrize("revokes_keys", [True, False])
def test_keys_in_organizations_of_others(alice, organization, dora, revokes_keys):
    member = Membership.objects.create(organization=organization, user=dora, role=Role.ADMIN)
    key, secret = organizations.issue_key(member, name="doras")
    account_deletion.order(dora, revokes_keys=revokes_keys)
    assert Api(secret).get("/v1/jobs").status_code == (401 if revokes_keys else 200)
    key.refresh_from_db()
    assert key.created_by == dora


def test_second_click_does_nothing(alice, organization):
    account_deletion.order(alice, revokes_keys=True)
    alice.refresh_from_db()
    with pytest.raises(NotFound):
        account_deletion.order(alice, revokes_keys=True)
    assert User.objects.get(pk=alice.pk).delete_at == alice.delete_at


@pytest.mark.long
def test_account_and_address_are_gone_after_the_grace(alice, organization, dora):
    member = Membership.objects.create(organization=organization, user=dora, role=Role.ADMIN)
    organizations.issue_key(member, name="doras")
    organizations.invite(organization, email="else@example.com", role=Role.MEMBER, by=member)
    EmailAddress.objects.create(user=dora, email="second@example.com", verified=True)
    owner = Membership.objects.get(organization=organization, user=alice)
    other = organizations.create(name="Other", owner=alice)
    organizations.invite(other, email=dora.email, role=Role.MEMBER, by=Membership.objects.get(organization=other))
    doras = Organization.objects.get(memberships__user=dora, memberships__role=Role.OWNER)
    account_deletion.order(dora, revokes_keys=False)
    assert account_deletion.delete_due(now=timezone.now() + timedelta(days=6)) == 0
    assert User.objects.filter(email=dora.email).exists()
    pass_grace(dora)
    Organization.objects.filter(pk=doras.pk).update(delete_at=timezone.now())
    assert closures.delete_due(now=timezone.now()) == 1
    assert account_deletion.delete_due(now=timezone.now()) == 1
    assert account_deletion.delete_due(now=timezone.now()) == 0
    row = User.objects.get(pk=dora.pk)
    assert row.shown_name == str(row) == "a former member"
    assert "dora" not in str(User.objects.filter(pk=dora.pk).values().get())
    for model in (EmailAddress, Membership):
        assert not model.objects.filter(user=dora).exists()
    assert not Invitation.objects.filter(email=dora.email).exists()
    # What she made stays, and says so. Nobody else notices.
    page = signed_in(alice).get(f"/o/{organization.pk}/keys/{organization.api_keys.get().pk}/")
    assert "by a former member" in page.content.decode()
    owner.refresh_from_db()
    assert alice.is_active
    assert list(ledger.faults()) == []
    # The address is free.
    Client().post("/accounts/signup/", {"email": dora.email, "password1": "quiet river 42 stones"})
    assert User.objects.filter(email=dora.email).exclude(pk=dora.pk).exists()


def test_address_is_taken_until_then(dora):
    account_deletion.order(dora, revokes_keys=True)
    Client().post("/accounts/signup/", {"email": dora.email, "password1": "quiet river 42 stones"})
    assert User.objects.filter(email=dora.email).count() == 1
    # Nor does a new password open the account.
    Client().post("/accounts/password/reset/", {"email": dora.email})
    assert not User.objects.get(pk=dora.pk).is_active


def test_operator_restores_an_account(dora, operator):
    account_deletion.order(dora, revokes_keys=True)
    answer = operator.post(f"/admin/accounts/user/{dora.pk}/change/", {"is_active": "on"})
    assert answer.status_code == 302
    dora.refresh_from_db()
    assert (dora.is_active, dora.delete_at) == (True, None)
    assert account_deletion.delete_due(now=timezone.now() + timedelta(days=30)) == 0
    assert signed_in(dora).get("/accounts/email/").status_code == 200


def test_active_account_is_never_deleted(dora):
    User.objects.filter(pk=dora.pk).update(delete_at=timezone.now() - timedelta(days=1))
    assert account_deletion.delete_due(now=timezone.now()) == 0


def test_refusal_names_all(alice, organization, bob):
    second = organizations.create(name="Beta", owner=alice)
    Membership.objects.create(organization=second, user=bob)
    with pytest.raises(Conflict, match=f"{organization.name}, Beta|Beta, {organization.name}"):
        account_deletion.order(alice, revokes_keys=True)
