"""The pay page, receipts and invoices, and the control page."""

import pytest
from django.test import Client
from django.urls import reverse


def run(object_id, action):
    return Client().post(reverse("sandbox:action", args=[object_id, action]))


@pytest.fixture
def address(checkout):
    return reverse("sandbox:pay", args=[checkout(cancel_url="http://localhost:8000/billing/").id])


def test_payer_returns_with_the_session_in_the_address(stripe_sandbox, checkout):
    session = checkout()
    assert session.url == f"http://localhost:8000/dev/stripe/pay/{session.id}/"
    response = Client().post(reverse("sandbox:pay", args=[session.id]), {"outcome": "paid"})
    assert response.headers["Location"] == f"http://localhost:8000/back/?session={session.id}"
    assert stripe_sandbox.get(session.id)["payment_status"] == "paid"


def test_declined_payer_stays_and_may_try_again(stripe_sandbox, address):
    response = Client().post(address, {"outcome": "declined"})
    assert (response.status_code, "declined" in response.text) == (200, True)
    assert Client().post(address, {"outcome": "paid"}).status_code == 302


def test_paid_session_cannot_be_paid_again(stripe_sandbox, address):
    Client().post(address, {"outcome": "paid"})
    page = Client().get(address)
    assert (page.status_code, "<form" in page.text.split("<main")[1]) == (200, False)
    Client().post(address, {"outcome": "paid"})
    assert len(stripe_sandbox.all("charge")) == 1


@pytest.mark.parametrize("outcome", ["", "authentication_required", "free"])
def test_outcome_without_a_button_is_refused(stripe_sandbox, address, outcome):
    assert Client().post(address, {"outcome": outcome}).status_code == 404
    assert stripe_sandbox.all("charge") == []


def test_checkbox_saves_the_card_where_it_is_offered(stripe_sandbox, checkout, customer):
    session = checkout(customer=customer.id, saved_payment_method_options={"payment_method_save": "enabled"})
    address = reverse("sandbox:pay", args=[session.id])
    assert 'name="save_card"' in Client().get(address).text
    Client().post(address, {"outcome": "paid", "save_card": "on"})
    assert len(stripe_sandbox.all("payment_method", customer=customer.id)) == 1


def test_tax_id_is_stored_where_it_is_asked_for(stripe_sandbox, checkout):
    session = checkout(tax_id_collection={"enabled": True}, invoice_creation={"enabled": True})
    address = reverse("sandbox:pay", args=[session.id])
    assert 'name="tax_id"' in Client().get(address).text
    Client().post(address, {"outcome": "paid", "tax_id": "DE123456789"})
    paid = stripe_sandbox.get(session.id)
    assert paid["customer_details"]["tax_ids"] == [{"type": "eu_vat", "value": "DE123456789"}]
    assert "DE123456789" in Client().get(reverse("sandbox:invoice", args=[paid["invoice"]])).text


def test_receipt_shows_what_was_paid(stripe_sandbox, checkout):
    stripe_sandbox.pay(checkout().id)
    receipt = stripe_sandbox.all("charge")[0]["receipt_url"]
    assert "$200.00" in Client().get(receipt.removeprefix("http://localhost:8000")).text


@pytest.mark.parametrize("page", ["receipt", "invoice"])
def test_receipt_or_invoice_of_another_object_is_missing(stripe_sandbox, customer, page):
    for object_id in ("ch_none", customer.id):
        assert Client().get(reverse(f"sandbox:{page}", args=[object_id])).status_code == 404


def test_control_page_runs_every_action(stripe_sandbox, checkout, saved_card):
    slow = checkout()
    stripe_sandbox.pay(slow.id, "transfer_paid")
    charge = stripe_sandbox.all("charge")[0]["id"]
    assert Client().get(reverse("sandbox:control")).status_code == 200
    assert run(charge, "refund").status_code == 302
    assert run(stripe_sandbox.all("refund")[0]["id"], "fail-refund").status_code == 302
    assert run(charge, "dispute").status_code == 302
    assert run(stripe_sandbox.all("dispute")[0]["id"], "win").status_code == 302
    assert run(slow.id, "complete-transfer").status_code == 302
    assert run(saved_card["id"], "card-declined").status_code == 302
    assert stripe_sandbox.all("refund")[0]["status"] == "failed"
    assert stripe_sandbox.all("dispute")[0]["status"] == "won"
    assert stripe_sandbox.get(slow.id)["payment_status"] == "paid"
    text = Client().get(reverse("sandbox:control")).text
    assert "dispute won" in text
    assert "is declined" in text


def test_control_page_says_why_an_action_is_refused(stripe_sandbox, checkout):
    stripe_sandbox.pay(checkout().id)
    client = Client()
    charge = stripe_sandbox.all("charge")[0]["id"]
    client.post(reverse("sandbox:action", args=[charge, "refund"]))
    response = client.post(reverse("sandbox:action", args=[charge, "refund"]), follow=True)
    assert "has already been refunded" in response.text
    assert run(charge, "explode").status_code == 404
    assert run("ch_none", "refund").status_code == 404


def test_settings_are_stored(stripe_sandbox):
    given = {"duplicate": "on", "delay_seconds": "30", "order": "reversed", "failure": "refused"}
    assert Client().post(reverse("sandbox:settings"), given).status_code == 302
    with stripe_sandbox.state() as state:
        assert {name: state.get_setting(name) for name in given} == given
    Client().post(reverse("sandbox:settings"), {"delay_seconds": "soon", "order": "", "failure": ""})
    with stripe_sandbox.state() as state:
        assert {name: state.get_setting(name) for name in given} == dict.fromkeys(given, "")


def test_forms_of_other_sites_run_no_action(stripe_sandbox, checkout):
    stripe_sandbox.pay(checkout().id)
    charge = stripe_sandbox.all("charge")[0]["id"]
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(reverse("sandbox:action", args=[charge, "refund"])).status_code == 403
    assert stripe_sandbox.all("refund") == []


def test_every_page_says_test_mode(stripe_sandbox, client_of, alice):
    for client, path in ((Client(), "/"), (Client(), "/accounts/login/"), (client_of(alice), "/overview/")):
        assert "Test mode: no real payments" in client.get(path).text


def test_pages_are_missing_where_the_site_does_not_use_the_sandbox(stripe_sandbox, address, settings):
    settings.STRIPE_SANDBOX = False
    assert Client().post(address, {"outcome": "paid"}).status_code == 404
    assert Client().get("/dev/stripe/").status_code == 404
    settings.STRIPE_SANDBOX, settings.DEVELOPMENT = True, False
    assert Client().post(address, {"outcome": "paid"}).status_code == 404
    assert stripe_sandbox.all("charge") == []
