"""What is written down of who did what, and what becomes of it."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import account_deletion, api_keys, audit_log, closures, log_context, organizations
from accounts.models import AuditAction, AuditEntry, Membership, Role, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def acts():
    """Return (action, subject) of what was written since the test began."""
    seen = set(AuditEntry.objects.values_list("pk", flat=True))
    return lambda: list(AuditEntry.objects.exclude(pk__in=seen).order_by("pk").values_list("action", "subject"))


def membership(person, organization):
    return Membership.objects.get(user=person, organization=organization)


def test_acts_on_members_are_written_with_their_people(alice, charlie, organization, acts):
    by = membership(alice, organization)
    log_context.begin(request_id="req_1", organization_id=organization.pk, user_id=alice.pk)
    _, token = organizations.invite(organization, email=charlie.email, role=Role.ADMIN, by=by)
    log_context.begin(request_id="req_2")
    joined = organizations.accept(token, user=charlie)
    log_context.begin(request_id="req_3", organization_id=organization.pk, user_id=alice.pk)
    organizations.change_role(joined, role=Role.MEMBER, by=by)
    organizations.remove_member(joined, by=by)
    assert acts() == [
        ("member.invited", "as admin"),
        ("member.joined", "as admin"),
        ("member.role_changed", "admin → member"),
        ("member.removed", ""),
    ]
    invited, accepted, changed, removed = AuditEntry.objects.of(organization).order_by("-pk")[:4][::-1]
    assert (invited.user, invited.person, invited.address, invited.request_id) == (alice, charlie, "", "req_1")
    assert (accepted.user, accepted.person, accepted.request_id) == (charlie, charlie, "req_2")
    assert (changed.user, changed.person) == (removed.user, removed.person) == (alice, charlie)


def test_acts_on_keys_are_written_and_never_their_secrets(organization, acts):
    log_context.begin()
    key, secret = api_keys.issue(organization, name="production", by=None)
    first = key.prefix
    new_secret = api_keys.rotate(key, overlap=timedelta(0), by=None)
    key.refresh_from_db()
    api_keys.change(key, name="robot")
    api_keys.change(key, name="robot")
    api_keys.set_monthly_limit(organization, key_id=key.pk, limit_micros=5_000_000)
    api_keys.set_monthly_limit(organization, key_id=key.pk, limit_micros=5_000_000)
    api_keys.revoke(organization, key_id=key.pk)
    api_keys.revoke(organization, key_id=key.pk)
    assert acts() == [
        ("key.created", f"production ({first}…), scopes: {key.scopes}"),
        ("key.rotated", f"production ({key.prefix}…)"),
        ("key.changed", "production: name: production → robot"),
        ("key.limited", "robot: no limit → $5.00 a month"),
        ("key.revoked", f"robot ({key.prefix}…)"),
    ]
    assert not any(each in subject for _, subject in acts() for each in (secret, new_secret))


def test_act_that_fails_is_not_written(alice, organization, acts):
    with pytest.raises(organizations.Conflict):
        organizations.leave(membership(alice, organization))
    assert acts() == []


def test_key_of_another_request_and_organization_is_no_actor(alice, organization, charlies):
    """What the request before left in the context, or a request for another organization, says nothing here."""
    key, _ = api_keys.issue(charlies, name="theirs", by=None)
    log_context.begin(organization_id=charlies.pk, key_id=key.pk, user_id=alice.pk)
    audit_log.record(organization, AuditAction.DATA_EXPORTED)
    row = AuditEntry.objects.of(organization).latest("pk")
    assert (row.user_id, row.key_id, row.operator_id) == (None, None, None)


def test_operator_is_written_beside_the_act(bob, organization):
    with log_context.about(operator_id=bob.pk):
        api_keys.issue(organization, name="made for them", by=None)
    assert AuditEntry.objects.of(organization).latest("pk").operator == bob


def test_long_subjects_are_cut(organization):
    audit_log.record(organization, AuditAction.LINK_CREATED, "x" * 5_000)
    assert len(AuditEntry.objects.of(organization).latest("pk").subject) == audit_log.MAX_SUBJECT_LENGTH


def test_words_are_searched_in_subjects_addresses_and_actions(alice, organization):
    log_context.begin(organization_id=organization.pk, user_id=alice.pk)
    api_keys.issue(organization, name="robot", by=alice)
    api_keys.issue(organization, name="100% mine", by=alice)

    def found(text):
        rows = audit_log.find(organization, text=text, before=None, limit=10)
        return [row.subject.split(" (")[0] for row in rows if row.action == AuditAction.KEY_CREATED]

    assert found("") == ["100% mine", "robot"]
    assert found("ROBOT created") == ["robot"]
    assert found(f"{alice.email} key") == ["100% mine", "robot"]
    assert found("100%") == ["100% mine"]
    assert found("robot removed") == []


def test_year_old_acts_are_deleted_and_others_stay(organization):
    old = timezone.now() - audit_log.KEPT - timedelta(minutes=1)
    audit_log.record(organization, AuditAction.DATA_EXPORTED)
    kept = AuditEntry.objects.count()
    audit_log.record(organization, AuditAction.DATA_EXPORTED)
    AuditEntry.objects.filter(pk=AuditEntry.objects.latest("pk").pk).update(created_at=old)
    assert audit_log.purge(now=timezone.now()) == 1
    assert AuditEntry.objects.count() == kept


def test_deleted_organization_keeps_no_acts(alice, organization, charlies):
    audit_log.record(organization, AuditAction.DATA_EXPORTED)
    audit_log.record(charlies, AuditAction.DATA_EXPORTED)
    assert audit_log.delete_of(organization, ends_at=time.monotonic() + 5)
    assert not AuditEntry.objects.of(organization).exists()
    assert AuditEntry.objects.of(charlies).exists()


def delete_account(person):
    User.objects.filter(pk=person.pk).update(is_active=False, delete_at=timezone.now())
    assert account_deletion.delete_due(now=timezone.now()) == 1


def test_address_of_a_deleted_account_is_in_no_act(alice, charlie, organization):
    by = membership(alice, organization)
    organizations.invite(organization, email=charlie.email.upper(), role=Role.MEMBER, by=by)
    other, _ = organizations.invite(organization, email=f"{charlie.email}.org", role=Role.MEMBER, by=by)
    organizations.withdraw(other, by=by)
    delete_account(charlie)
    addresses = list(AuditEntry.objects.of(organization).order_by("-pk").values_list("address", flat=True)[:3])
    assert addresses == [other.email, other.email, ""]


def test_address_with_which_a_person_was_invited_is_forgotten_when_they_join(alice, charlie, organization):
    """They may have another address when they delete the account."""
    by = membership(alice, organization)
    was = charlie.email
    _, token = organizations.invite(organization, email=was, role=Role.MEMBER, by=by)
    organizations.accept(token, user=charlie)
    charlie.email = "charlie@elsewhere.example"
    charlie.save()
    assert not AuditEntry.objects.filter(address=was).exists()
    delete_account(charlie)
    assert AuditEntry.objects.of(organization).filter(person=charlie, action="member.invited").exists()


def test_invitations_that_end_with_their_maker_are_written(alice, bob, organization):
    owner, made_admin = membership(alice, organization), membership(bob, organization)
    organizations.change_role(made_admin, role=Role.ADMIN, by=owner)
    organizations.invite(organization, email="zoe@example.com", role=Role.MEMBER, by=made_admin)
    organizations.remove_member(made_admin, by=owner)
    last = AuditEntry.objects.of(organization).filter(action="invitation.withdrawn").get()
    assert last.address == "zoe@example.com"


def test_old_secrets_that_end_with_a_member_are_written(alice, bob, organization, acts):
    owner, made_admin = membership(alice, organization), membership(bob, organization)
    organizations.change_role(made_admin, role=Role.ADMIN, by=owner)
    key, _ = api_keys.issue(organization, name="production", by=alice)
    api_keys.rotate(key, overlap=timedelta(hours=1), by=alice)
    organizations.remove_member(made_admin, by=owner)
    assert ("key.changed", "production: its old secret ended") in acts()


@pytest.mark.long
def test_search_reads_the_newest_acts_only(organization):
    audit_log.record(organization, AuditAction.LINK_CREATED, "oldest needle")
    rows = [
        AuditEntry(organization=organization, created_at=timezone.now(), action="link.created", subject="hay")
        for _ in range(audit_log.SEARCHED_ROWS)
    ]
    AuditEntry.objects.bulk_create(rows[:-1])
    assert len(audit_log.find(organization, text="needle", before=None, limit=5)) == 1
    rows[-1].save()
    assert audit_log.find(organization, text="needle", before=None, limit=5) == []


def test_deleting_and_restoring_an_organization_is_written(alice, organization, acts):
    closures.close(membership(alice, organization))
    closures.open_again(organization.pk, by=alice)
    assert acts() == [("organization.deleted", organization.name), ("organization.restored", organization.name)]
