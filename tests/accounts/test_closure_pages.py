"""What an owner sees and does to delete an organization, and to restore it."""

from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts import api_keys, closures, organizations
from accounts.models import Membership, Organization, Role
from billing.models import Hold
from tests.conftest import Api
from tests.transcription.factories import make_job
from transcription.models import Status

DELETED = "/organization/deleted/"


@pytest.fixture
def acme(alice):
    """A second organization of Alice's."""
    acme = organizations.create(name="Acme  & Söhne", owner=alice)
    organizations.verify(acme)
    return acme


def page_of(organization):
    return f"/o/{organization.pk}/organization/delete/"


def test_page_says_what_goes_and_what_stays(client_of, alice, organization, settings):
    shown = client_of(alice).get(page_of(organization)).content.decode()
    for word in ("Transcripts, recordings", "API keys, tokens, webhooks", "Members and invitations"):
        assert word in shown
    assert "not refunded automatically" in shown
    assert settings.SUPPORT_EMAIL in shown
    assert "After 7 days, permanently" in shown
    settings.DELETION_GRACE_DAYS = 0
    shown = client_of(alice).get(page_of(organization)).content.decode()
    assert "Permanently" in shown
    assert "restore it" not in shown


def test_only_the_name_deletes(client_of, alice, organization, acme):
    browser = client_of(alice)
    for wrong in ("", organization.name, "Acme"):
        answer = browser.post(page_of(acme), {"name": wrong})
        assert answer.status_code == 400
        acme.refresh_from_db()
        assert not acme.is_closed
    assert "Type: Acme  &amp; Söhne" in answer.content.decode()


def test_owner_deletes_and_restores(client_of, alice, organization, acme):
    _, secret = api_keys.issue(acme, name="x", by=alice)
    job = make_job(organization)
    browser = client_of(alice)
    # A page shows two blanks as one.
    answer = browser.post(page_of(acme), {"name": "Acme & Söhne"}, follow=True)
    assert answer.redirect_chain == [(DELETED, 302)]
    assert "is deleted" in answer.content.decode()
    assert "Restore" in answer.content.decode()
    assert mail.outbox[-1].to == [alice.email]
    assert Api(secret).get("/v1/jobs").status_code == 401
    for path in ("overview/", "keys/", "organization/", "organization/delete/", "transcripts/"):
        assert browser.get(f"/o/{acme.pk}/{path}").status_code == 404
    # It is in no list, and the other one works on.
    assert "Acme" not in browser.get("/overview/").content.decode()
    job.refresh_from_db()
    assert job.status == Status.QUEUED
    answer = browser.post(DELETED, {"organization": acme.pk})
    assert answer.headers["Location"] == f"/o/{acme.pk}/overview/"
    assert Api(secret).get("/v1/jobs").status_code == 200
    assert "You have no deleted organizations" in browser.get(DELETED).content.decode()


@pytest.mark.long
def test_second_click_leads_to_where_it_can_be_restored(client_of, alice, bob, organization, acme, settings):
    browser = client_of(alice)
    for days in (7, 0):
        settings.DELETION_GRACE_DAYS = days
        form = {"name": "Acme & Söhne"}
        answers = [browser.post(page_of(acme), form, follow=True) for _ in range(2)]
        assert [answer.redirect_chain for answer in answers] == [[(DELETED, 302)]] * 2
        assert len(mail.outbox) == 1, "owners are told once"
        assert client_of(bob).post(page_of(acme), form).status_code == 404
        assert Client().post(page_of(acme), form).headers["Location"].startswith("/accounts/login/")
        Organization.objects.filter(pk=acme.pk).update(closed_at=None, delete_at=None)
        mail.outbox.clear()


def test_page_ends_running_work(client_of, alice, organization):
    job = make_job(organization)
    client_of(alice).post(page_of(organization), {"name": organization.name})
    job.refresh_from_db()
    assert job.status == Status.CANCELED
    assert not Hold.objects.open().exists()


def test_person_whose_only_organization_is_deleted_gets_another(client_of, alice, organization):
    browser = client_of(alice)
    browser.post(page_of(organization), {"name": organization.name})
    browser.home = None
    assert browser.get("/overview/", follow=True).status_code == 200
    assert Organization.objects.filter(memberships__user=alice, closed_at=None).count() == 1
    browser.post(DELETED, {"organization": organization.pk})
    assert Organization.objects.filter(memberships__user=alice, closed_at=None).count() == 2


@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN])
def test_others_than_owners_are_refused(client_of, organization, bob, role):
    Membership.objects.filter(user=bob).update(role=role)
    browser = client_of(bob)
    assert browser.get(page_of(organization)).status_code == 403
    assert browser.post(page_of(organization), {"name": organization.name}).status_code == 403
    assert "organization/delete/" not in browser.get("/organization/").content.decode()
    organization.refresh_from_db()
    assert not organization.is_closed


def test_stranger_restores_nothing_and_learns_nothing(client_of, alice, organization, charlie):
    closures.close(Membership.objects.get(user=alice))
    browser = client_of(charlie)
    assert organization.name not in browser.get(DELETED).content.decode()
    answers = [
        browser.post(DELETED, {"organization": named})
        for named in (organization.pk, "00000000-0000-0000-0000-000000000000", "x", "")
    ]
    assert {answer.status_code for answer in answers} == {404}
    organization.refresh_from_db()
    assert organization.is_closed


def test_too_late_is_said(client_of, alice, organization, acme):
    closures.close(Membership.objects.get(organization=acme, user=alice))
    Organization.objects.filter(pk=acme.pk).update(delete_at=timezone.now() - timedelta(seconds=1))
    answer = client_of(alice).post(DELETED, {"organization": acme.pk})
    assert answer.status_code == 409
    assert "can no longer be restored" in answer.content.decode()


def test_pages_ask_few_questions(client_of, alice, organization, acme, django_assert_max_num_queries):
    closures.close(Membership.objects.get(organization=acme, user=alice))
    browser = client_of(alice)
    browser.get(DELETED)
    for address in (page_of(organization), DELETED):
        with django_assert_max_num_queries(12):
            assert browser.get(address).status_code == 200
