"""The page of activity: what it shows, and to whom."""

import pytest
from django.test import Client

from accounts import api_keys, audit_log, log_context
from accounts.models import AuditAction, User


def test_owners_and_admins_read_who_did_what(alice, organization, client_of):
    client = client_of(alice)
    client.post(f"/o/{organization.pk}/organization/rename/", {"name": "Acme Voices"})
    client.post(f"/o/{organization.pk}/organization/invite/", {"email": "dora@example.com", "role": "member"})
    page = client.get(f"/o/{organization.pk}/activity/").content.decode()
    for text in (
        alice.email,
        "renamed the organization",
        "→ Acme Voices",
        "invited a member",
        "dora@example.com",
    ):
        assert text in page


def test_programs_are_named_by_their_key(alice, organization, client_of):
    _, secret = api_keys.issue(organization, name="deploy", by=alice, scopes=["admin", "read"])
    made = Client().post(
        "/v1/keys",
        {"name": "made by a program", "scopes": ["read"]},
        content_type="application/json",
        headers={"X-API-Key": secret},
    )
    assert made.status_code == 201, made.content
    entries = client_of(alice).get(f"/o/{organization.pk}/activity/", {"q": "made by a program"}).context["entries"]
    assert [(entry["by"], entry["row"].told) for entry in entries] == [("key deploy", "created a key")]


def test_operators_are_not_named(alice, organization, client_of, db):
    operator = User.objects.create_superuser("operator@example.com", "x")
    with log_context.about(operator_id=operator.pk):
        audit_log.record(organization, AuditAction.ORGANIZATION_RESTORED)
    page = client_of(alice).get(f"/o/{organization.pk}/activity/")
    assert page.context["entries"][0]["by"] == "Voxsite support"
    assert operator.email not in page.content.decode()


def test_members_strangers_and_visitors_do_not_read_it(bob, charlie, organization, charlies, client_of):
    audit_log.record(organization, AuditAction.DATA_EXPORTED)
    assert client_of(bob).get(f"/o/{organization.pk}/activity/").status_code == 403
    assert client_of(charlie).get(f"/o/{organization.pk}/activity/").status_code == 404
    assert Client().get(f"/o/{organization.pk}/activity/").status_code == 302
    assert "downloaded everything" not in client_of(charlie).get(f"/o/{charlies.pk}/activity/").content.decode()


def test_search_is_kept_from_page_to_page(alice, organization, client_of):
    for number in range(52):
        audit_log.record(organization, AuditAction.LINK_CREATED, f"call {number}")
    client = client_of(alice)
    first = client.get(f"/o/{organization.pk}/activity/", {"q": "call"})
    assert [entry["row"].subject for entry in first.context["entries"]][:2] == ["call 51", "call 50"]
    assert f"q=call&amp;before={first.context['next_before']}" in first.content.decode()
    rest = client.get(f"/o/{organization.pk}/activity/", {"q": "call", "before": first.context["next_before"]})
    assert [entry["row"].subject for entry in rest.context["entries"]] == ["call 1", "call 0"]


@pytest.mark.parametrize("filters", [{"before": "0"}, {"q": "x" * 201}, {"q": "a\0b"}])
def test_bad_filter_is_explained_and_shows_no_rows(alice, organization, client_of, filters):
    page = client_of(alice).get(f"/o/{organization.pk}/activity/", filters)
    assert page.status_code == 400
    assert page.context["entries"] == []


def test_nothing_found_is_said(alice, organization, client_of):
    assert (
        "matches this search"
        in client_of(alice).get(f"/o/{organization.pk}/activity/", {"q": "no such act"}).content.decode()
    )


def test_what_is_written_is_text_and_no_markup(alice, organization, client_of):
    audit_log.record(organization, AuditAction.LINK_CREATED, "<b>bold</b>")
    assert "&lt;b&gt;bold&lt;/b&gt;" in client_of(alice).get(f"/o/{organization.pk}/activity/").content.decode()
