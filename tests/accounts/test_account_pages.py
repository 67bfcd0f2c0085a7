"""What the page says before an account is deleted. What it does is in test_account_deletion."""

import pytest
from django.test import Client

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


def test_person_chooses_their_mails(alice, bob, client_of):
    client = client_of(alice)
    page = client.get("/accounts/mails/").content.decode()
    assert 'value="long" ' in page
    answer = client.post("/accounts/mails/", {"ready_mail": "always"}, follow=True)
    assert "Saved." in answer.content.decode()
    alice.refresh_from_db()
    assert (alice.ready_mail, alice.has_failed_mail) == ("always", False)
    bob.refresh_from_db()
    assert (bob.ready_mail, bob.has_failed_mail) == ("long", True)


@pytest.mark.parametrize("wanted", ["has_paid_mail", "has_refunded_mail", "has_disputed_mail"])
def test_person_chooses_their_mails_about_money(alice, client_of, wanted):
    client_of(alice).post("/accounts/mails/", {"ready_mail": "long", wanted: "on"})
    alice.refresh_from_db()
    money = ("has_paid_mail", "has_refunded_mail", "has_disputed_mail")
    assert [name for name in money if getattr(alice, name)] == [wanted]


def test_odd_choice_of_mails_changes_nothing(alice, client_of):
    assert client_of(alice).post("/accounts/mails/", {"ready_mail": "hourly"}).status_code == 400
    alice.refresh_from_db()
    assert (alice.ready_mail, alice.has_failed_mail) == ("long", True)


def test_visitor_has_no_mails_to_choose(db):
    assert Client().get("/accounts/mails/").status_code == 302
