"""Pages of keys, members, organizations and invitations: who may see and do what."""

import re
import uuid

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts import api_keys, organizations
from accounts.models import ApiKey, Invitation, Membership, Organization, Role

KEY = re.compile(r"vxp_live_[0-9A-Za-z]{38}")


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="production", by=None)[0]


@pytest.fixture
def bobs_membership(bob, organization):
    return Membership.objects.get(user=bob, organization=organization)


def invite(organization, alice, email="dora@example.com", role=Role.MEMBER) -> str:
    by = Membership.objects.get(user=alice, organization=organization)
    return organizations.invite(organization, email=email, role=role, by=by)[1]


# --- Signed out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/keys/", "/organization/", "/organization/new/"])
def test_visitor_is_asked_to_sign_in(db, path):
    response = Client().get(path)
    assert response.status_code == 302
    assert response.url == f"/accounts/login/?next={path}"


@pytest.mark.parametrize(
    "path",
    [
        f"/keys/{uuid.UUID(int=7)}/revoke/",
        f"/keys/{uuid.UUID(int=7)}/limit/",
        "/organization/leave/",
        "/organization/rename/",
        "/organization/invite/",
        f"/organization/invitations/{uuid.UUID(int=7)}/resend/",
        f"/organization/invitations/{uuid.UUID(int=7)}/withdraw/",
        "/organization/members/1/role/",
        "/organization/members/1/remove/",
    ],
)
def test_acts_need_a_post_and_a_sign_in(db, alice, client_of, path):
    assert Client().post(path).status_code == 302
    assert client_of(alice).get(path).status_code == 405


# --- Members ---------------------------------------------------------------------------------------------------------


def test_members_are_listed_to_members_only(alice, bob, charlie, client_of):
    assert "bob@example.com" in client_of(alice).get("/organization/").content.decode()
    page = client_of(bob).get("/organization/").content.decode()
    assert "alice@example.com" in page
    assert "Invite a member" not in page
    assert "alice@example.com" not in client_of(charlie).get("/organization/").content.decode()


def test_owner_invites_and_the_invited_person_joins(alice, organization, charlie, client_of):
    response = client_of(alice).post(
        "/organization/invite/", {"email": "charlie@example.com", "role": "admin"}, follow=True
    )
    assert "Invitation sent to charlie@example.com" in response.content.decode()
    path = re.search(r"/invitations/[\w-]+/", mail.outbox[-1].body).group()
    client = client_of(charlie)
    shown = client.get(path)
    assert organization.name in shown.content.decode()
    assert shown["Referrer-Policy"] == "same-origin"
    joined = client.post(path, follow=True)
    assert f"Welcome to {organization.name}" in joined.content.decode()
    assert joined.context["organization"] == organization
    assert Membership.objects.get(user=charlie, organization=organization).role == Role.ADMIN
    again = client.get(path, follow=True)
    assert again.redirect_chain == [(f"/o/{organization.pk}/overview/", 302)]
    assert f"You are a member of {organization.name}." in again.content.decode()
    # To others a used link says nothing.
    assert client_of(alice).get(path).status_code == Client().get(path).status_code == 404


def test_invitation_is_sent_again_with_the_same_link(alice, organization, client_of):
    client = client_of(alice)
    client.post("/organization/invite/", {"email": "dora@example.com", "role": "admin"})
    row = Invitation.objects.get()
    page = client.get("/organization/").content.decode()
    assert f'action="/o/{organization.pk}/organization/invitations/{row.pk}/resend/"' in page
    page = client.post(f"/organization/invitations/{row.pk}/resend/", follow=True).content.decode()
    assert "Invitation sent to dora@example.com" in page
    first, second = (re.search(r"/invitations/[\w-]+/", sent.body).group() for sent in mail.outbox)
    assert first == second
    assert Invitation.objects.get().role == Role.ADMIN


def test_member_cannot_resend_an_invitation(alice, organization, bob, client_of):
    invite(organization, alice)
    row = Invitation.objects.get()
    assert client_of(bob).post(f"/organization/invitations/{row.pk}/resend/").status_code == 403
    assert mail.outbox == []


def test_visitor_with_an_invitation_is_asked_to_sign_in_first(alice, organization):
    path = f"/invitations/{invite(organization, alice)}/"
    for response in (Client().get(path), Client().post(path)):
        assert response.status_code == 200
        assert f"/accounts/login/?next={path}" in response.content.decode()
    assert not Membership.objects.filter(user__email="dora@example.com").exists()


def test_invited_stranger_signs_up_and_comes_back_to_the_invitation(alice, organization):
    invitation = f"/invitations/{invite(organization, alice, email='dora@example.com')}/"
    client = Client()
    client.post("/accounts/signup/", {"email": "dora@example.com", "password1": "quiet river 42", "next": invitation})
    path = re.search(r"/accounts/confirm-email/[^\s/]+/", mail.outbox[-1].body).group()
    assert client.post(path).url == invitation
    assert client.post(invitation, follow=True).context["organization"] == organization


def test_forwarded_invitation_admits_nobody_else(alice, organization, charlie, client_of):
    path = f"/invitations/{invite(organization, alice)}/"
    client = client_of(charlie)
    assert "This invitation is for" in client.get(path).content.decode()
    assert client.post(path).status_code == 403
    assert not Membership.objects.filter(user=charlie, organization=organization).exists()


def test_unknown_invitation_is_not_found(db):
    response = Client().get("/invitations/guess/")
    assert response.status_code == 404
    assert "no longer valid" in response.content.decode()


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "nobody", "role": "member"},
        {"email": f"{'x' * 60}@{'y' * 60}.{'z' * 60}.{'z' * 60}.{'z' * 60}.example", "role": "member"},
        {"email": "a@b.example", "role": "king"},
        {},
    ],
)
def test_bad_invitation_is_answered_beside_the_field(alice, organization, client_of, fields):
    assert client_of(alice).post("/organization/invite/", fields).status_code == 400
    assert not Invitation.objects.exists()


def test_member_cannot_invite_and_admin_cannot_make_owners(bob, bobs_membership, client_of):
    client = client_of(bob)
    fields = {"email": "dora@example.com", "role": "owner"}
    assert client.post("/organization/invite/", fields).status_code == 403
    bobs_membership.role = Role.ADMIN
    bobs_membership.save()
    assert client.post("/organization/invite/", fields).status_code == 400
    assert not Invitation.objects.exists()


def test_mail_that_could_not_be_sent_is_told_and_the_invitation_stays(alice, organization, client_of, settings):
    settings.MAIL_TRANSPORT = "tests.accounts.test_organizations.BrokenMail"
    fields = {"email": "dora@example.com", "role": "member"}
    page = client_of(alice).post("/organization/invite/", fields, follow=True).content.decode()
    assert "The email to dora@example.com could not be sent" in page
    assert "Invite them again" in page
    assert Invitation.objects.get().email == "dora@example.com"


def test_organization_cannot_send_invitations_without_end(alice, organization, charlie, charlies, client_of):
    client = client_of(alice)
    for number in range(30):
        fields = {"email": f"p{number}@example.com", "role": "member"}
        assert client.post("/organization/invite/", fields).status_code == 302
    response = client.post("/organization/invite/", {"email": "one-more@example.com", "role": "member"})
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    assert "Too many requests" in response.content.decode()
    assert len(mail.outbox) == Invitation.objects.count() == 30
    other = client_of(charlie).post("/organization/invite/", {"email": "dora@example.com", "role": "member"})
    assert other.status_code == 302


def test_admin_is_told_that_a_higher_invitation_is_open(alice, organization, bob, bobs_membership, client_of):
    invite(organization, alice, role=Role.OWNER)
    bobs_membership.role = Role.ADMIN
    bobs_membership.save()
    response = client_of(bob).post("/organization/invite/", {"email": "dora@example.com", "role": "member"})
    assert response.status_code == 400
    assert "dora@example.com is already invited as owner" in response.content.decode()
    assert Invitation.objects.get().role == Role.OWNER


def test_invitation_can_be_withdrawn_by_its_organization_only(alice, organization, charlie, client_of):
    invite(organization, alice)
    path = f"/organization/invitations/{Invitation.objects.get().pk}/withdraw/"
    # A stranger reads what everybody reads who is late.
    page = client_of(charlie).post(path, follow=True).content.decode()
    assert "This invitation is no longer open." in page
    assert Invitation.objects.exists()
    client = client_of(alice)
    assert "withdrawn" in client.post(path, follow=True).content.decode()
    assert not Invitation.objects.exists()
    assert "This invitation is no longer open." in client.post(path, follow=True).content.decode()


def test_owner_changes_a_role_and_removes_a_member(alice, bobs_membership, client_of):
    client = client_of(alice)
    client.post(f"/organization/members/{bobs_membership.pk}/role/", {"role": "admin"})
    bobs_membership.refresh_from_db()
    assert bobs_membership.role == Role.ADMIN
    client.post(f"/organization/members/{bobs_membership.pk}/remove/")
    assert not Membership.objects.filter(pk=bobs_membership.pk).exists()
    again = client.post(f"/organization/members/{bobs_membership.pk}/remove/", follow=True)
    assert "This person is no longer a member." in again.content.decode()


def test_stranger_cannot_touch_members(charlie, bobs_membership, client_of):
    client = client_of(charlie)
    assert client.post(f"/organization/members/{bobs_membership.pk}/role/", {"role": "owner"}).status_code == 404
    page = client.post(f"/organization/members/{bobs_membership.pk}/remove/", follow=True).content.decode()
    assert "This person is no longer a member." in page
    assert Membership.objects.filter(pk=bobs_membership.pk).exists()


def test_member_cannot_raise_their_own_role(bob, bobs_membership, client_of):
    response = client_of(bob).post(f"/organization/members/{bobs_membership.pk}/role/", {"role": "owner"})
    assert response.status_code == 403
    bobs_membership.refresh_from_db()
    assert bobs_membership.role == Role.MEMBER


def test_unknown_role_is_refused(alice, bobs_membership, client_of):
    response = client_of(alice).post(f"/organization/members/{bobs_membership.pk}/role/", {"role": "king"})
    assert response.status_code == 403


def test_last_owner_is_told_why_they_cannot_leave(alice, organization, client_of):
    response = client_of(alice).post("/organization/leave/", follow=True)
    assert "An organization needs an owner" in response.content.decode()
    assert Membership.objects.filter(user=alice).exists()


def test_member_leaves(bob, bobs_membership, client_of):
    client_of(bob).post("/organization/leave/")
    assert not Membership.objects.filter(pk=bobs_membership.pk).exists()


@pytest.fixture
def bobs_key(organization, bob):
    return api_keys.issue(organization, name="bob's import", by=bob)[0]


def test_keys_that_a_member_made_are_named_and_their_end_is_offered(alice, bobs_key, client_of):
    page = client_of(alice).get("/organization/").content.decode()
    assert page.count("“bob&#x27;s import”") == 2  # beside the role, and beside the removal
    assert page.count('name="revoke_keys" checked') == 2


def test_removed_member_leaves_no_key_behind(alice, bobs_membership, bobs_key, key, client_of):
    address = f"/organization/members/{bobs_membership.pk}/remove/"
    page = client_of(alice).post(address, {"revoke_keys": "on"}, follow=True).content.decode()
    assert "bob@example.com removed. Revoked: “bob&#x27;s import”." in page
    assert [row.is_live(now=timezone.now()) for row in (refreshed(bobs_key), refreshed(key))] == [False, True]


def test_key_that_is_kept_is_told_of(alice, bobs_membership, bobs_key, client_of):
    page = client_of(alice).post(f"/organization/members/{bobs_membership.pk}/remove/", follow=True).content.decode()
    assert "bob@example.com removed. Keys that still work: “bob&#x27;s import”." in page
    assert refreshed(bobs_key).revoked_at is None


@pytest.mark.parametrize(("role", "is_live"), [("member", False), ("admin", True)])
def test_member_who_manages_keys_no_more_loses_those_that_they_made(
    alice, bobs_membership, bobs_key, client_of, role, is_live
):
    Membership.objects.filter(pk=bobs_membership.pk).update(role=Role.ADMIN)
    address = f"/organization/members/{bobs_membership.pk}/role/"
    client_of(alice).post(address, {"role": role, "revoke_keys": "on"})
    assert refreshed(bobs_key).is_live(now=timezone.now()) is is_live


def test_member_leaves_and_takes_their_keys_along(bob, bobs_membership, bobs_key, client_of):
    browser = client_of(bob)
    address, browser.home = f"/o/{browser.home}/organization/leave/", None
    page = browser.post(address, {"revoke_keys": "on"}, follow=True).content.decode()
    assert "Revoked: “bob&#x27;s import”" in page
    assert refreshed(bobs_key).revoked_at


def test_refused_removal_revokes_nothing(alice, bob, organization, client_of):
    alices_key, _ = api_keys.issue(organization, name="alice's", by=alice)
    alices = Membership.objects.get(user=alice)
    client_of(alice).post("/organization/leave/", {"revoke_keys": "on"})
    assert client_of(bob).post(f"/organization/members/{alices.pk}/remove/", {"revoke_keys": "on"}).status_code == 403
    assert refreshed(alices_key).revoked_at is None


def refreshed(row):
    row.refresh_from_db()
    return row


# --- Organizations ---------------------------------------------------------------------------------------------------


def test_new_organization_is_verified_and_chosen(alice, organization, client_of):
    response = client_of(alice).post("/organization/new/", {"name": "Acme"}, follow=True)
    acme = Organization.objects.get(name="Acme")
    assert acme.is_verified
    assert response.context["organization"] == acme
    assert list(response.context["other_organizations"]) == [organization]


@pytest.mark.parametrize("name", ["", "x" * 101, "Acme\r\nBcc: all@example.com", "Acme\x07", "a\u202eb"])
def test_organization_needs_a_name_of_one_plain_line(alice, organization, client_of, name):
    response = client_of(alice).post("/organization/new/", {"name": name})
    assert response.status_code == 400
    assert 'id="id_name_error"' in response.content.decode()
    assert Organization.objects.count() == 1


def test_owner_renames_and_the_address_stays(alice, organization, client_of):
    client = client_of(alice)
    assert f'action="/o/{organization.pk}/organization/rename/"' in client.get("/organization/").content.decode()
    response = client.post("/organization/rename/", {"name": " Acme <b>&</b> Söhne "}, follow=True)
    assert response.redirect_chain == [(f"/o/{organization.pk}/organization/", 302)]
    page = response.content.decode()
    assert "Renamed to Acme &lt;b&gt;&amp;&lt;/b&gt; Söhne." in page
    assert "<b>&</b>" not in page
    organization.refresh_from_db()
    assert organization.name == "Acme <b>&</b> Söhne"


@pytest.mark.parametrize("name", [None, "", " ", "x" * 101, "Acme\r\nBcc: all@example.com", "Acme\x00", "a\u202eb"])
def test_bad_name_is_refused_in_words_and_the_old_one_stays(alice, organization, client_of, name):
    page = client_of(alice).post("/organization/rename/", {} if name is None else {"name": name}, follow=True)
    assert "Name not changed. A name is one line of 1 to 100 characters" in page.content.decode()
    assert Organization.objects.get().name == organization.name


@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN])
def test_only_owners_rename(bob, bobs_membership, organization, client_of, role):
    Membership.objects.filter(pk=bobs_membership.pk).update(role=role)
    client = client_of(bob)
    assert "organization/rename/" not in client.get("/organization/").content.decode()
    assert client.post("/organization/rename/", {"name": "Bobs"}).status_code == 403
    assert Organization.objects.get().name == organization.name


def test_switcher_links_to_the_others_and_each_page_stays_in_its_own(alice, organization, charlies, client_of):
    acme = organizations.create(name="Acme", owner=alice)
    client = client_of(alice)
    page = client.get("/keys/").content.decode()
    assert f'<a class="entry" href="/o/{acme.pk}/overview/"><span class="clip">Acme</span></a>' in page
    assert str(charlies.pk) not in page
    client.post("/keys/", {"name": "first", "scopes": ["read"]})
    client.get(f"/o/{acme.pk}/overview/")
    client.post("/keys/", {"name": "second", "scopes": ["read"]})
    assert {key.name for key in ApiKey.objects.of(organization)} == {"first", "second"}
    assert not ApiKey.objects.of(acme).exists()
