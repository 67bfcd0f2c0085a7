"""The admin pages of every app, shown on those of accounts: rows are read-only, and actions keep the rules."""

import uuid

import pytest
from django.contrib import admin
from django.contrib.messages.storage.cookie import CookieStorage

from accounts import api_keys
from accounts.admin import ApiKeyAdmin, OrganizationAdmin
from accounts.models import ApiKey, Membership, Organization, Role, User
from accounts.operator_admin import BoundedPaginator
from tests.accounts.conftest import act, address, messages_of


@pytest.mark.long
@pytest.mark.parametrize("kind", ["organization", "membership", "invitation", "key"])
def test_rows_can_be_read_and_neither_written_nor_deleted(operator, request, kind):
    row = request.getfixturevalue(kind)
    page = operator.get(address(type(row), row.pk, page="change"))
    assert page.status_code == 200
    assert b'name="_save"' not in page.content
    assert operator.post(address(type(row), row.pk, page="change"), {"name": "Mallory"}).status_code == 403
    assert operator.post(address(type(row), row.pk, page="delete"), {"post": "yes"}).status_code == 403
    assert operator.get(address(type(row), page="add")).status_code == 403
    assert type(row).objects.filter(pk=row.pk).exists()


@pytest.mark.long
def test_last_owner_can_neither_be_removed_nor_demoted(operator, membership):
    for action in ("remove", "make_member"):
        assert "needs an owner" in messages_of(act(operator, action, membership))[0]
    membership.refresh_from_db()
    assert membership.role == Role.OWNER


def test_operator_who_may_only_read_is_offered_no_action(reader, key):
    assert b'value="revoke"' not in reader.get(address(ApiKey)).content
    act(reader, "revoke", key)
    assert ApiKey.objects.get(pk=key.pk).revoked_at is None


def test_id_is_found_at_once(operator, organization, charlies):
    page = operator.get(address(Organization), {"q": str(organization.pk)})
    assert list(page.context["cl"].queryset) == [organization]


def found_by(operator, model, term):
    page = operator.get(address(model), {"q": term})
    assert page.status_code == 200, term
    return set(page.context["cl"].queryset)


@pytest.mark.long
def test_rows_are_found_by_the_beginning_of_a_name_or_address(operator, organization, membership, key, alice):
    named = organization.name
    for model, row, terms in (
        (Organization, organization, (named, named[:4].upper(), "ALICE@", str(organization.pk))),
        (Membership, membership, (named, "alice@ex", str(organization.pk))),
        (ApiKey, key, (named, key.prefix, str(key.pk), str(organization.pk))),
    ):
        for term in terms:
            assert row in found_by(operator, model, term), term
        for term in ("no-such", named[1:], "%", "_", str(uuid.uuid4())):
            assert row not in found_by(operator, model, term), term


def admin_that_counts(kind, max_count):
    """Return the admin of a model's rows, which counts up to another bound."""
    paginator = type("Paginator", (BoundedPaginator,), {"max_count": max_count})
    return type("Admin", (kind,), {"paginator": paginator})


@pytest.fixture
def ask(operator, rf):
    """Returns what an operator gets from the list of an admin: the response, and the messages."""

    def send(kind, model, form=None, *, max_count):
        request = rf.get("/") if form is None else rf.post("/", form)
        request.user = User.objects.get(email="operator@example.com")
        request._dont_enforce_csrf_checks = True
        request._messages = CookieStorage(request)
        response = admin_that_counts(kind, max_count)(model, admin.site).changelist_view(request)
        return response, [str(message) for message in request._messages]

    return send


def test_rows_are_counted_up_to_a_bound(ask, organization, charlies):
    page, _ = ask(OrganizationAdmin, Organization, max_count=1)
    assert page.context_data["cl"].result_count == 1


@pytest.mark.long
@pytest.mark.parametrize(("max_count", "is_done"), [(1, False), (2, True)])
def test_action_on_all_rows_needs_a_list_that_was_counted_whole(ask, operator, organization, key, max_count, is_done):
    api_keys.issue(organization, name="second", by=None)
    form = {"action": "revoke", "_selected_action": [key.pk], "select_across": "1"}
    _, messages = ask(ApiKeyAdmin, ApiKey, form, max_count=max_count)
    assert ApiKey.objects.filter(revoked_at__isnull=True).exists() is not is_done
    assert ("Nothing was done: these are more than 1 rows." in messages[0]) is not is_done
    # The rows that were selected one by one are acted on.
    act(operator, "revoke", key)
    assert ApiKey.objects.get(pk=key.pk).revoked_at is not None
