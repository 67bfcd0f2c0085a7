"""The admin pages of every app, shown on those of accounts: rows are read-only, and actions keep the rules."""

import pytest

from accounts.models import ApiKey, Organization, Role
from tests.accounts.conftest import act, address, messages_of


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
