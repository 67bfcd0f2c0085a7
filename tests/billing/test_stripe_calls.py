"""Calls to Stripe: what each asks for, that a repeated one changes nothing, and what it raises. Against the sandbox."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.errors import NotConfigured
from accounts.models import Organization, User
from billing import stripe_api, stripe_calls
from billing.models.payments import Customer, TopUp
from tests.billing.stripe_objects import make_topup
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting

ADDRESSES = {"success_url": "http://localhost:8000/paid/", "cancel_url": "http://localhost:8000/left/"}
Call = Callable[[TopUp], Any]
CALLS: dict[str, Call] = {
    "create_checkout": lambda topup: stripe_calls.create_checkout(topup, **ADDRESSES),
    "retrieve_checkout": lambda topup: stripe_calls.retrieve_checkout("cs_1"),
    "expire_checkout": lambda topup: stripe_calls.expire_checkout("cs_1"),
    "charge_card": stripe_calls.charge_card,
    "find_charge_of_card": stripe_calls.find_charge_of_card,
    "retrieve_payment_intent": lambda topup: stripe_calls.retrieve_payment_intent("pi_1"),
    "create_invoice": stripe_calls.create_invoice,
    "find_invoice": stripe_calls.find_invoice,
    "retrieve_invoice": lambda topup: stripe_calls.retrieve_invoice("in_1"),
    "add_invoice_line": stripe_calls.add_invoice_line,
    "finalize_invoice": stripe_calls.finalize_invoice,
    "pay_invoice_with_charge": stripe_calls.pay_invoice_with_charge,
    "void_invoice": stripe_calls.void_invoice,
    "create_refund": lambda topup: stripe_calls.create_refund(payment_intent_id="pi_1", amount_cents=1, refund_id="7"),
    "list_refunds": lambda topup: stripe_calls.list_refunds(payment_intent_id="pi_1"),
    "detach_card": lambda topup: stripe_calls.detach_card("pm_1"),
    "customer_of": lambda topup: stripe_calls.customer_of(topup.organization),
    "rename_customer": lambda topup: stripe_calls.rename_customer("cus_1", name="Acme", due_at=topup.created_at),
}
# These do nothing that could be repeated wrongly: they read, or their effect is the same each time.
NEED_NO_KEY = {
    "retrieve_checkout",
    "expire_checkout",
    "find_charge_of_card",
    "retrieve_payment_intent",
    "find_invoice",
    "retrieve_invoice",
    "list_refunds",
    "detach_card",
}


@pytest.fixture
def topup(acme: Organization, owner: User) -> TopUp:
    """A top-up of $200 of an organization that Stripe does not know yet."""
    return make_topup(acme, checkout_session_id="", invoice_id="in_1", payment_intent_id="pi_1")


@pytest.fixture
def card(stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> str:
    """The id of a card that may be charged without its owner."""
    session = stripe_calls.create_checkout(make_topup(acme, 500, save_card=True), **ADDRESSES)
    stripe_sandbox.pay(session["id"])
    return str(stripe_sandbox.all("payment_method")[0]["id"])


@pytest.fixture
def automatic(acme: Organization, card: str) -> TopUp:
    return make_topup(acme, checkout_session_id="", is_automatic=True, payment_method_id=card)


# --- Every call ------------------------------------------------------------------------------------------------------


def know_customer(topup: TopUp, name: str) -> None:
    """Store the customer that a call uses, unless the call is the one that creates it."""
    if name != "customer_of":
        Customer.objects.create(organization=topup.organization, stripe_id="cus_1")


def test_every_call_is_in_the_table() -> None:
    public = {
        name for name, value in vars(stripe_calls).items() if getattr(value, "__module__", "") == "billing.stripe_calls"
    }
    assert {name for name in public if not name.startswith("_")} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_call_without_stripe_says_so(topup: TopUp, settings: Any, name: str) -> None:
    settings.STRIPE_API_KEY = ""
    know_customer(topup, name)
    with pytest.raises(NotConfigured):
        CALLS[name](topup)


@pytest.mark.long
@pytest.mark.parametrize("how", ["error", "response_lost"])
@pytest.mark.parametrize("name", CALLS)
def test_call_that_fails_says_so_and_never_claims_success(
    stripe_sandbox: StripeSandbox, topup: TopUp, name: str, how: str
) -> None:
    know_customer(topup, name)
    with stripe_sandbox.failing(how), pytest.raises(stripe_api.StripeFailed):
        CALLS[name](topup)


@pytest.mark.parametrize("name", CALLS)
def test_call_inside_a_transaction_is_refused_before_it_reaches_stripe(
    stripe_sandbox: StripeSandbox, topup: TopUp, name: str
) -> None:
    know_customer(topup, name)
    requests: list[str] = []

    def record(perform: Perform, request: Request) -> Response:
        requests.append(request.path)
        return perform()

    with intercepting(record), pytest.raises(RuntimeError, match="inside a transaction"), transaction.atomic():
        CALLS[name](topup)
    assert requests == []


@pytest.mark.parametrize("name", CALLS)
def test_call_that_creates_or_moves_something_has_an_idempotency_key(
    stripe_sandbox: StripeSandbox, topup: TopUp, name: str
) -> None:
    """Without one, the client's own repetition after a lost response could charge a card twice."""
    know_customer(topup, name)
    keys: list[str] = []

    def record(perform: Perform, request: Request) -> Response:
        keys.append(request.idempotency_key)
        return perform()

    with intercepting(record):
        for _ in range(2):
            # Stripe knows none of the objects. It does not matter here.
            with suppress(stripe_api.StripeMissing):
                CALLS[name](topup)
            if name == "customer_of":
                Customer.objects.all().delete()
    first, second = keys
    # stripe-python makes up a new key for each POST without one.
    assert (first == second != "") == (name not in NEED_NO_KEY)


# --- Checkouts -------------------------------------------------------------------------------------------------------


def test_checkout_sent_twice_is_one(stripe_sandbox: StripeSandbox, topup: TopUp) -> None:
    first, second = (stripe_calls.create_checkout(topup, **ADDRESSES) for _ in range(2))
    assert first["id"] == second["id"]
    assert len(stripe_sandbox.all("checkout.session")) == 1


def test_checkout_asks_for_exactly_the_amount_of_its_row(stripe_sandbox: StripeSandbox, acme: Organization) -> None:
    bodies: list[str] = []

    def record(perform: Perform, request: Request) -> Response:
        bodies.append(request.body)
        return perform()

    topup = make_topup(acme, 7_501, checkout_session_id="")
    with intercepting(record):
        session = stripe_calls.create_checkout(topup, **ADDRESSES)
    sent = parse_qs(bodies[-1])
    assert sent["line_items[0][price_data][unit_amount]"] == ["7501"]
    assert sent["line_items[0][quantity]"] == ["1"]
    assert (session["amount_total"], session["currency"]) == (7_501, "usd")


def test_checkout_names_its_row_in_session_payment_and_invoice(stripe_sandbox: StripeSandbox, topup: TopUp) -> None:
    session = stripe_calls.create_checkout(topup, **ADDRESSES)
    stripe_sandbox.pay(session["id"])
    paid = stripe_calls.retrieve_checkout(session["id"])
    assert paid["client_reference_id"] == str(topup.pk)
    for named in (paid, paid["payment_intent"], paid["payment_intent"]["latest_charge"], paid["invoice"]):
        assert named["metadata"] == {"topup_id": str(topup.pk)}


@pytest.mark.parametrize("is_saved", [True, False])
def test_card_is_saved_for_later_only_if_the_payer_asked(
    stripe_sandbox: StripeSandbox, acme: Organization, is_saved: bool
) -> None:
    session = stripe_calls.create_checkout(make_topup(acme, save_card=is_saved), **ADDRESSES)
    # The box on the pay page is not offered, so ticking it does nothing.
    stripe_sandbox.pay(session["id"], save_card=True)
    assert bool(stripe_sandbox.all("payment_method")[0]["customer"]) is is_saved


def test_closing_a_paid_checkout_is_refused_and_takes_nothing_back(stripe_sandbox: StripeSandbox, topup: TopUp) -> None:
    session = stripe_calls.create_checkout(topup, **ADDRESSES)
    stripe_sandbox.pay(session["id"])
    with pytest.raises(stripe_api.StripeRefused):
        stripe_calls.expire_checkout(session["id"])
    assert stripe_calls.retrieve_checkout(session["id"])["payment_status"] == "paid"


@pytest.mark.parametrize(
    "name", ["retrieve_checkout", "expire_checkout", "retrieve_payment_intent", "retrieve_invoice"]
)
def test_unknown_object_is_missing(stripe_sandbox: StripeSandbox, topup: TopUp, name: str) -> None:
    with pytest.raises(stripe_api.StripeMissing):
        CALLS[name](topup)


# --- Charges without the payer ---------------------------------------------------------------------------------------


def test_charge_sent_twice_takes_the_money_once(stripe_sandbox: StripeSandbox, automatic: TopUp) -> None:
    before = len(stripe_sandbox.all("charge"))
    first, second = (stripe_calls.charge_card(automatic) for _ in range(2))
    assert first["id"] == second["id"]
    assert (first["status"], first["amount_received"]) == ("succeeded", 20_000)
    assert len(stripe_sandbox.all("charge")) == before + 1


def test_charge_whose_response_is_lost_takes_the_money_once(stripe_sandbox: StripeSandbox, automatic: TopUp) -> None:
    before = len(stripe_sandbox.all("charge"))
    with stripe_sandbox.failing("response_lost"), pytest.raises(stripe_api.StripeFailed):
        stripe_calls.charge_card(automatic)
    found = stripe_calls.find_charge_of_card(automatic)
    assert found is not None
    assert stripe_calls.charge_card(automatic)["id"] == found["id"]
    assert len(stripe_sandbox.all("charge")) == before + 1


def test_declined_charge_stays_declined_under_its_key(stripe_sandbox: StripeSandbox, automatic: TopUp) -> None:
    stripe_sandbox.set_card_outcome(automatic.payment_method_id, "declined")
    with pytest.raises(stripe_api.CardDeclined):
        stripe_calls.charge_card(automatic)
    stripe_sandbox.set_card_outcome(automatic.payment_method_id, "paid")
    with pytest.raises(stripe_api.CardDeclined):
        stripe_calls.charge_card(automatic)


def test_card_of_another_organization_is_not_charged(
    stripe_sandbox: StripeSandbox, automatic: TopUp, rival: Organization
) -> None:
    before = len(stripe_sandbox.all("charge"))
    stolen = make_topup(rival, checkout_session_id="", is_automatic=True, payment_method_id=automatic.payment_method_id)
    with pytest.raises(stripe_api.StripeRefused):
        stripe_calls.charge_card(stolen)
    assert len(stripe_sandbox.all("charge")) == before


def test_charge_of_another_topup_is_not_found(stripe_sandbox: StripeSandbox, automatic: TopUp) -> None:
    stripe_calls.charge_card(automatic)
    TopUp.objects.filter(pk=automatic.pk).update(state="paid", paid_at=timezone.now())
    other = make_topup(automatic.organization, checkout_session_id="", is_automatic=True)
    assert stripe_calls.find_charge_of_card(other) is None


def test_charge_of_an_organization_without_a_customer_is_not_searched_for(
    stripe_sandbox: StripeSandbox, topup: TopUp
) -> None:
    with stripe_sandbox.failing("refused"):
        assert stripe_calls.find_charge_of_card(topup) is None
        assert stripe_calls.find_invoice(topup) == ""


def test_charge_is_found_behind_a_page_of_later_ones(stripe_sandbox: StripeSandbox, automatic: TopUp) -> None:
    made = stripe_calls.charge_card(automatic)
    with stripe_sandbox.state() as state:
        for number in range(stripe_calls.PAGE_SIZE + 1):
            state.put({**state.get(made["id"]), "id": f"pi_later_{number}", "metadata": {}})
    found = stripe_calls.find_charge_of_card(automatic)
    assert found is not None
    assert found["id"] == made["id"]


def test_charge_from_long_before_the_topup_is_not_searched_for(stripe_sandbox: StripeSandbox, automatic: TopUp) -> None:
    """A busy customer has thousands of payments. Only those since the top-up can be its own."""
    made = stripe_calls.charge_card(automatic)
    with stripe_sandbox.state() as state:
        intent = state.get(made["id"])
        state.put({**intent, "created": intent["created"] - stripe_calls.CLOCK_SKEW_SECONDS - 60})
    assert stripe_calls.find_charge_of_card(automatic) is None


# --- Invoices --------------------------------------------------------------------------------------------------------


def test_every_step_of_an_invoice_may_be_repeated(stripe_sandbox: StripeSandbox, automatic: TopUp) -> None:
    automatic.payment_intent_id = stripe_calls.charge_card(automatic)["id"]
    charges = len(stripe_sandbox.all("charge"))
    for _ in range(2):
        automatic.invoice_id = stripe_calls.create_invoice(automatic)["id"]
    for step in (
        stripe_calls.add_invoice_line,
        stripe_calls.finalize_invoice,
        stripe_calls.pay_invoice_with_charge,
    ):
        first, second = step(automatic), step(automatic)
        assert first == second
    invoice = stripe_calls.retrieve_invoice(automatic.invoice_id)
    assert (invoice["status"], invoice["total"], invoice["amount_paid"]) == ("paid", 20_000, 20_000)
    assert stripe_calls.find_invoice(automatic) == invoice["id"]
    assert len(stripe_sandbox.all("charge")) == charges


def test_invoice_is_not_collected_by_stripe(stripe_sandbox: StripeSandbox, automatic: TopUp) -> None:
    automatic.invoice_id = stripe_calls.create_invoice(automatic)["id"]
    stripe_calls.add_invoice_line(automatic)
    invoice = stripe_calls.finalize_invoice(automatic)
    assert (invoice["status"], invoice["auto_advance"]) == ("open", False)
    stripe_calls.void_invoice(automatic)
    assert stripe_calls.retrieve_invoice(automatic.invoice_id)["status"] == "void"
    with pytest.raises(stripe_api.StripeRefused):
        stripe_calls.pay_invoice_with_charge(automatic)


def test_invoice_of_another_topup_is_not_found(stripe_sandbox: StripeSandbox, automatic: TopUp) -> None:
    stripe_calls.create_invoice(automatic)
    TopUp.objects.filter(pk=automatic.pk).update(state="paid", paid_at=timezone.now())
    assert stripe_calls.find_invoice(make_topup(automatic.organization, is_automatic=True)) == ""


# --- Customers and cards ---------------------------------------------------------------------------------------------


def test_organization_has_one_customer(stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> None:
    first, second = stripe_calls.customer_of(acme), stripe_calls.customer_of(acme)
    (customer,) = stripe_sandbox.all("customer")
    assert first == second == customer["id"] == Customer.objects.get().stripe_id
    assert (customer["name"], customer["email"]) == ("Acme", "owner@example.com")
    assert customer["metadata"]["organization_id"] == str(acme.pk)


def test_two_processes_create_one_customer(stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> None:
    others: list[str] = []

    def create_meanwhile(perform: Perform, _: Request) -> Response:
        if not others:
            others.append("")
            others[0] = stripe_calls.customer_of(acme)
        return perform()

    with intercepting(create_meanwhile):
        assert [stripe_calls.customer_of(acme)] == others
    assert len(stripe_sandbox.all("customer")) == 1


def test_organization_without_an_owner_or_with_an_odd_name_is_a_customer_too(
    stripe_sandbox: StripeSandbox, acme: Organization
) -> None:
    Organization.objects.filter(pk=acme.pk).update(name='Äcme & "Söhne" [x]=1')
    acme.refresh_from_db()
    stripe_calls.customer_of(acme)
    (customer,) = stripe_sandbox.all("customer")
    assert (customer["name"], customer["email"]) == ('Äcme & "Söhne" [x]=1', None)


def test_organization_that_was_renamed_after_a_lost_response_gets_a_customer(
    stripe_sandbox: StripeSandbox, acme: Organization, owner: User
) -> None:
    """Stripe refuses a key that is repeated with another name, so the key depends on it."""
    with stripe_sandbox.failing("response_lost"), pytest.raises(stripe_api.StripeFailed):
        stripe_calls.customer_of(acme)
    acme.name = "Acme Limited"
    acme.save()
    assert stripe_calls.customer_of(acme) == Customer.objects.get().stripe_id


def test_detached_card_can_no_longer_be_charged(stripe_sandbox: StripeSandbox, automatic: TopUp) -> None:
    # The second call finds it detached, which is no error.
    for _ in range(2):
        stripe_calls.detach_card(automatic.payment_method_id)
    with pytest.raises(stripe_api.StripeRefused):
        stripe_calls.charge_card(automatic)


def test_detaching_an_unknown_card_does_nothing(stripe_sandbox: StripeSandbox, db: None) -> None:
    stripe_calls.detach_card("pm_none")
