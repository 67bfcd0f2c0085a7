import re
import threading
from datetime import timedelta

import pytest
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection, transaction
from django.utils import timezone

from accounts import api_keys, organizations
from accounts.errors import Conflict, Forbidden, InvalidField, NotFound, UpstreamFailed
from accounts.models import ApiKey, Invitation, Membership, Organization, Role, User


@pytest.fixture
def owner(organization, alice):
    return Membership.objects.get(organization=organization, user=alice)


@pytest.fixture
def member(organization, bob):
    return Membership.objects.get(organization=organization, user=bob)


def test_verified_person_gets_one_organization_of_their_own(alice):
    organizations.email_was_verified(alice)
    organization = Organization.objects.get(memberships__user=alice)
    assert organization.is_personal
    assert organization.is_verified
    assert organization.memberships.get().role == Role.OWNER


def test_verification_is_announced_once(alice, organization):
    heard = []

    def hear(**kwargs):
        heard.append(kwargs["organization"])

    organizations.organization_verified.connect(hear)
    try:
        assert not organizations.verify(organization)
        Organization.objects.update(verified_at=None)
        assert organizations.verify(organization)
        assert heard == [organization]
    finally:
        organizations.organization_verified.disconnect(hear)


@pytest.mark.parametrize(
    "name",
    [
        *("", "  ", "x" * 101, "Acme\r\nBcc: all@example.com", "Acme\x00", "Acme\u2028Corp", "Acme\u202emca"),
        *("\u200d", "\u3164", "\u2800\u2800", "\u0301"),
    ],
)
def test_organization_has_a_name_of_one_plain_line(alice, name):
    with pytest.raises(InvalidField):
        organizations.create(name=name, owner=alice)
    assert not Organization.objects.filter(is_personal=False).exists()


def test_name_may_be_written_in_any_script(alice):
    for name in ("نمونه\u200cها", "株式会社", "Ünïted & Söns", "👩\u200d💻"):
        assert organizations.create(name=name, owner=alice).name == name


@pytest.mark.parametrize(
    ("email", "name"),
    [
        ('"a\tb\x01"@example.com', "ab"),
        ('"\x01"@example.com', "Personal"),
        ("\u202e@example.com", "Personal"),
        (f"{'x' * 120}@example.com", "x" * 100),
    ],
)
def test_personal_name_is_safe_whatever_the_address(db, email, name):
    user = User.objects.create_user(email)
    assert organizations.ensure_personal(user).name == name


def test_invited_person_joins(owner, charlie):
    invitation, token = organizations.invite(owner.organization, email=charlie.email, role=Role.ADMIN, by=owner)
    organizations.mail_invitation(invitation, token=token)
    assert mail.outbox[0].to == [charlie.email]
    assert re.search(rf"/invitations/{token}/", mail.outbox[0].body)
    assert token not in str(Invitation.objects.values().get())
    membership = organizations.accept(token, user=charlie)
    assert (membership.organization, membership.role) == (owner.organization, Role.ADMIN)
    with pytest.raises(NotFound):
        organizations.accept(token, user=charlie)


def test_forwarded_invitation_admits_nobody_else(owner, charlie):
    _, token = organizations.invite(owner.organization, email="dora@example.com", role=Role.MEMBER, by=owner)
    with pytest.raises(Forbidden):
        organizations.accept(token, user=charlie)
    assert not Membership.objects.filter(user=charlie, organization=owner.organization).exists()


def test_old_or_wrong_invitation_is_not_found(owner, charlie):
    _, token = organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=owner)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for offered in (token, "nonsense", ""):
        with pytest.raises(NotFound):
            organizations.accept(offered, user=charlie)


def test_inviting_again_renews_the_same_link(owner, charlie):
    first, token = organizations.invite(owner.organization, email=charlie.email, role=Role.ADMIN, by=owner)
    Invitation.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
    again, same = organizations.invite(owner.organization, email=charlie.email.upper(), role=Role.ADMIN, by=owner)
    assert (again, same) == (first, token)
    assert Invitation.objects.get().expires_at > timezone.now() + timedelta(days=6)
    assert organizations.accept(token, user=charlie).role == Role.ADMIN


@pytest.mark.parametrize("end", ["withdrawn", "accepted", "expired", "of another organization"])
def test_invitation_that_is_over_is_not_sent_again(owner, charlie, end):
    """Whoever resends has read the page a moment before."""
    invitation, token = organizations.invite(owner.organization, email=charlie.email, role=Role.ADMIN, by=owner)
    organization = owner.organization
    match end:
        case "withdrawn":
            organizations.withdraw(invitation, by=owner)
        case "accepted":
            organizations.accept(token, user=charlie)
        case "expired":
            Invitation.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
        case _:
            organization = organizations.create(name="Other", owner=charlie)
    before = Invitation.objects.count()
    with pytest.raises(NotFound):
        organizations.resend(
            organization, invitation_id=invitation.pk, by=organization.memberships.get(role=Role.OWNER)
        )
    assert Invitation.objects.count() == before


def test_inviting_again_with_another_role_is_refused_and_the_first_link_works(owner, charlie):
    _, token = organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=owner)
    with pytest.raises(Conflict, match="already invited as member"):
        organizations.invite(owner.organization, email=charlie.email, role=Role.ADMIN, by=owner)
    assert organizations.accept(token, user=charlie).role == Role.MEMBER


def test_link_stays_the_same_while_the_secret_key_is_rotated(owner, charlie, settings):
    settings.SECRET_KEY = "a" * 50
    _, token = organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=owner)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "b" * 50, ["a" * 50]
    assert organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=owner)[1] == token


def test_renewed_invitation_of_an_earlier_version_has_a_link_that_works(owner, charlie):
    organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=owner)
    Invitation.objects.update(token_sha256="0" * 64)
    _, token = organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=owner)
    assert organizations.accept(token, user=charlie).role == Role.MEMBER


def test_withdrawn_link_does_not_come_back_with_a_new_invitation(owner, charlie):
    invitation, withdrawn = organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=owner)
    organizations.withdraw(invitation, by=owner)
    _, token = organizations.invite(owner.organization, email=charlie.email, role=Role.ADMIN, by=owner)
    assert token != withdrawn
    with pytest.raises(NotFound):
        organizations.accept(withdrawn, user=charlie)


def test_members_and_strangers_invite_nobody(owner, member, charlie):
    strangers_own = Membership.objects.get(user=charlie)
    for by in (member, strangers_own):
        with pytest.raises(Forbidden):
            organizations.invite(owner.organization, email="dora@example.com", role=Role.MEMBER, by=by)


def test_admin_makes_no_owners(owner, member):
    organizations.change_role(member, role=Role.ADMIN, by=owner)
    member.refresh_from_db()
    with pytest.raises(Forbidden):
        organizations.invite(owner.organization, email="dora@example.com", role=Role.OWNER, by=member)
    with pytest.raises(Forbidden):
        organizations.change_role(member, role=Role.OWNER, by=member)
    with pytest.raises(Forbidden):
        organizations.change_role(owner, role=Role.MEMBER, by=member)
    with pytest.raises(Forbidden):
        organizations.remove_member(owner, by=member)


def test_admin_does_not_replace_the_invitation_of_an_owner(owner, member, charlie):
    _, token = organizations.invite(owner.organization, email=charlie.email, role=Role.OWNER, by=owner)
    organizations.change_role(member, role=Role.ADMIN, by=owner)
    with pytest.raises(Forbidden):
        organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=member)
    assert organizations.accept(token, user=charlie).role == Role.OWNER


def test_too_old_invitation_of_an_owner_stands_in_nobodys_way(owner, member, charlie):
    organizations.invite(owner.organization, email=charlie.email, role=Role.OWNER, by=owner)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    organizations.change_role(member, role=Role.ADMIN, by=owner)
    organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=member)
    assert Invitation.objects.get().role == Role.MEMBER


def test_mail_server_that_is_down_is_told_and_the_invitation_stays(owner, settings, caplog):
    settings.MAIL_TRANSPORT = "tests.accounts.test_organizations.BrokenMail"
    invitation, token = organizations.invite(owner.organization, email="dora@example.com", role=Role.MEMBER, by=owner)
    with pytest.raises(UpstreamFailed):
        organizations.mail_invitation(invitation, token=token)
    assert "was not sent: " in caplog.text
    assert "dora@example.com" not in caplog.text
    assert token not in caplog.text
    assert Invitation.objects.get() == invitation


def test_mail_of_an_older_name_with_line_breaks_is_sent(owner):
    Organization.objects.update(name="Acme\r\nBcc: all@example.com")
    owner.refresh_from_db()
    invitation, token = organizations.invite(owner.organization, email="dora@example.com", role=Role.MEMBER, by=owner)
    organizations.mail_invitation(invitation, token=token)
    assert "\n" not in mail.outbox[0].subject
    assert mail.outbox[0].recipients() == ["dora@example.com"]


@pytest.mark.parametrize(
    "end",
    [
        lambda member, owner: organizations.remove_member(member, by=owner),
        lambda member, owner: organizations.leave(member),
        lambda member, owner: organizations.change_role(member, role=Role.MEMBER, by=owner),
    ],
    ids=["removed", "left", "demoted"],
)
def test_open_invitations_end_with_the_right_to_make_them(owner, member, charlie, end):
    organizations.change_role(member, role=Role.ADMIN, by=owner)
    _, token = organizations.invite(owner.organization, email=charlie.email, role=Role.ADMIN, by=member)
    _, kept = organizations.invite(owner.organization, email="dora@example.com", role=Role.ADMIN, by=owner)
    end(member, owner)
    with pytest.raises(NotFound):
        organizations.accept(token, user=charlie)
    assert organizations.invitation_for(kept)


def test_owner_who_becomes_admin_keeps_what_an_admin_may_offer(owner, member):
    organizations.change_role(member, role=Role.OWNER, by=owner)
    organizations.invite(owner.organization, email="as-owner@example.com", role=Role.OWNER, by=member)
    organizations.invite(owner.organization, email="as-admin@example.com", role=Role.ADMIN, by=member)
    organizations.change_role(member, role=Role.ADMIN, by=owner)
    assert [invitation.email for invitation in Invitation.objects.all()] == ["as-admin@example.com"]


def test_member_is_not_invited_again(owner, bob):
    with pytest.raises(Conflict):
        organizations.invite(owner.organization, email="BOB@example.com", role=Role.MEMBER, by=owner)


def test_last_owner_stays(owner, member):
    for leave in (
        lambda: organizations.leave(owner),
        lambda: organizations.change_role(owner, role=Role.MEMBER, by=owner),
        lambda: organizations.remove_member(owner, by=owner),
    ):
        with pytest.raises(Conflict):
            leave()
    organizations.change_role(member, role=Role.OWNER, by=owner)
    organizations.leave(owner)
    assert not Membership.objects.filter(pk=owner.pk).exists()


def test_member_leaves_and_is_removed(owner, member):
    organizations.remove_member(member, by=owner)
    assert not Membership.objects.filter(pk=member.pk).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "end",
    [
        lambda member, owner: organizations.remove_member(member, by=owner),
        lambda member, owner: organizations.leave(member),
        lambda member, owner: organizations.change_role(member, role=Role.ADMIN, by=owner),
    ],
    ids=["remove", "leave", "change_role"],
)
def test_membership_that_is_gone_is_not_found_and_leaves_no_transaction_open(owner, member, end):
    organizations.remove_member(Membership.objects.get(pk=member.pk), by=owner)
    with pytest.raises(NotFound):
        end(member, owner)
    assert not connection.in_atomic_block


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda member, owner: organizations.change_role(member, role=Role.MEMBER, by=owner), Forbidden),
        (lambda member, owner: organizations.remove_member(member, by=owner), NotFound),
    ],
    ids=["demoted", "removed"],
)
def test_who_lost_the_right_a_moment_ago_does_nothing_more(owner, member, charlie, end, error):
    organizations.change_role(member, role=Role.OWNER, by=owner)
    in_another_window = Membership.objects.get(pk=member.pk)
    end(member, owner)
    with pytest.raises(error):
        organizations.remove_member(owner, by=in_another_window)
    with pytest.raises(error):
        organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=in_another_window)


@pytest.mark.django_db(transaction=True)
def test_of_two_removals_at_once_one_succeeds_and_the_other_finds_nobody(owner, member):
    in_two_windows = [(Membership.objects.get(pk=member.pk), Membership.objects.get(pk=owner.pk)) for _ in range(2)]
    acts = [lambda who=who, by=by: organizations.remove_member(who, by=by) for who, by in in_two_windows]
    assert sorted(at_once(acts)) == ["NotFound", "done"]


@pytest.mark.django_db(transaction=True)
def test_acceptance_and_withdrawal_at_once_end_in_words(owner, charlie):
    invitation, token = organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=owner)
    acts = [lambda: organizations.accept(token, user=charlie), lambda: organizations.withdraw(invitation, by=owner)]
    assert set(at_once(acts)) <= {"done", "NotFound"}


def at_once(acts):
    """Do all acts in threads that start together; return what each met: "done" or the error's name."""
    if connection.vendor == "sqlite":
        pytest.skip("the tests' database in memory answers a second writer with an error instead of letting it wait")
    start, seen = threading.Barrier(len(acts)), []

    def run(act):
        try:
            connection.ensure_connection()
            start.wait(timeout=20)
            act()
            seen.append("done")
        except Exception as error:
            seen.append(type(error).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


class BrokenMail(BaseEmailBackend):
    """A mail server that does not answer."""

    def send_messages(self, email_messages):
        raise ConnectionRefusedError("the mail server is down")


@pytest.mark.parametrize(
    "end",
    [
        lambda member, owner, **choice: organizations.remove_member(member, by=owner, **choice),
        lambda member, owner, **choice: organizations.remove_member(member, by=None, **choice),
        lambda member, owner, **choice: organizations.leave(member, **choice),
        lambda member, owner, **choice: organizations.change_role(member, role=Role.MEMBER, by=owner, **choice),
    ],
    ids=["removed", "removed by an operator", "left", "downgraded"],
)
def test_keys_of_who_goes_are_revoked_unless_they_are_to_stay(organization, alice, bob, end):
    """A key that made others passes on who made it, as `billing.key_management.create` has it."""
    owner = Membership.objects.get(organization=organization, user=alice)
    member = Membership.objects.get(organization=organization, user=bob)
    for name, person in (("first", bob), ("second", bob), ("alice's", alice), ("nobody's", None)):
        api_keys.issue(organization, name=name, by=person)
    with transaction.atomic():
        assert end(member, owner, revokes_keys=False) == ["first", "second"]
        assert ApiKey.objects.filter(revoked_at=None).count() == 4
        transaction.set_rollback(True)
    assert end(Membership.objects.get(organization=organization, user=bob), owner) == ["first", "second"]
    assert set(ApiKey.objects.filter(revoked_at=None).values_list("name", flat=True)) == {"alice's", "nobody's"}


def test_new_admin_keeps_the_keys_they_made(organization, alice, bob):
    owner = Membership.objects.get(organization=organization, user=alice)
    api_keys.issue(organization, name="bob's", by=bob)
    member = Membership.objects.get(organization=organization, user=bob)
    assert organizations.change_role(member, role=Role.ADMIN, by=owner) == []
    assert ApiKey.objects.filter(revoked_at=None).count() == 1


def test_no_keys_are_revoked_by_who_is_not_above_or_of_another_organization(organization, alice, bob, charlie):
    owner = Membership.objects.get(organization=organization, user=alice)
    member = Membership.objects.get(organization=organization, user=bob)
    stranger = Membership.objects.get(user=charlie)
    key, _ = api_keys.issue(organization, name="alice's", by=alice)
    for by in (member, stranger):
        with pytest.raises(Forbidden):
            organizations.remove_member(owner, by=by)
    key.refresh_from_db()
    assert key.revoked_at is None


def test_old_secret_of_a_removed_admin_ends_though_somebody_rotated_the_key(organization, alice, bob):
    owner = Membership.objects.get(organization=organization, user=alice)
    member = Membership.objects.get(organization=organization, user=bob)
    organizations.change_role(member, role=Role.ADMIN, by=owner)
    key, known_to_bob = api_keys.issue(organization, name="bob's", by=bob)
    known_to_alice = api_keys.rotate(key, overlap=timedelta(days=7), by=alice)
    assert api_keys.find(known_to_bob) is not None
    assert organizations.remove_member(member, by=owner) == []
    assert api_keys.find(known_to_bob) is None
    assert api_keys.find(known_to_alice) is not None


def test_admin_who_is_removed_or_downgraded_at_that_moment_gets_no_key(organization, alice, bob):
    """The page has looked at the role before the lock."""
    owner = Membership.objects.get(organization=organization, user=alice)
    member = Membership.objects.get(organization=organization, user=bob)
    organizations.change_role(member, role=Role.ADMIN, by=owner)
    before = Membership.objects.get(pk=member.pk)
    organizations.change_role(member, role=Role.MEMBER, by=owner)
    with pytest.raises(Forbidden):
        organizations.issue_key(before, name="late")
    before = Membership.objects.get(pk=member.pk)
    organizations.remove_member(member, by=owner)
    with pytest.raises(NotFound):
        organizations.issue_key(before, name="late")
    assert not ApiKey.objects.exists()


def test_rotation_asks_for_the_role_and_the_membership_again(organization, alice, bob):
    """The attack: rotate a key while one is removed, and keep the new secret."""
    key, secret = api_keys.issue(organization, name="old", by=alice)
    owner = Membership.objects.get(user=alice, organization=organization)
    member = Membership.objects.get(user=bob, organization=organization)
    organizations.change_role(member, role=Role.ADMIN, by=owner)
    before = Membership.objects.get(pk=member.pk)
    organizations.change_role(member, role=Role.MEMBER, by=owner)
    with pytest.raises(Forbidden):
        organizations.rotate_key(before, key_id=key.pk, overlap=timedelta(0))
    organizations.remove_member(Membership.objects.get(pk=member.pk), by=owner)
    with pytest.raises(NotFound):
        organizations.rotate_key(before, key_id=key.pk, overlap=timedelta(0))
    assert api_keys.find(secret) is not None


def test_removed_admin_loses_the_key_that_they_rotated(organization, alice, bob):
    key, secret = api_keys.issue(organization, name="old", by=alice)
    owner = Membership.objects.get(user=alice, organization=organization)
    admin = Membership.objects.get(user=bob, organization=organization)
    organizations.change_role(admin, role=Role.ADMIN, by=owner)
    admin.refresh_from_db()
    _, new = organizations.rotate_key(admin, key_id=key.pk, overlap=timedelta(days=1))
    organizations.remove_member(admin, by=owner)
    assert api_keys.find(new) is None
    assert api_keys.find(secret) is None
