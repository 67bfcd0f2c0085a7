"""What the page says before an account is deleted. What it does is in test_account_deletion."""

from accounts import organizations
from accounts.models import Membership, Role
from tests.conftest import Visitor


def test_page_names_what_becomes_of_each_organization(alice, organization, charlies, django_assert_max_num_queries):
    organizations.create(name="Alone", owner=alice)
    Membership.objects.create(organization=charlies, user=alice, role=Role.ADMIN)
    browser = Visitor(alice)
    browser.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
    browser.get("/accounts/delete/")
    with django_assert_max_num_queries(14):
        shown = browser.get("/accounts/delete/").content.decode()
    assert "<strong>Alone</strong> is deleted with it" in shown
    assert f"You leave <strong>{charlies.name}</strong>" in shown
    assert "not refunded automatically" in shown
    assert "a former member" in shown
    assert "In 7 days" in browser.post("/accounts/delete/").content.decode()
