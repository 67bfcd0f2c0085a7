"""The sandbox's objects have the fields of stripe-python's types, and dj-stripe can store them."""

import types
import typing

import djstripe.models
import pytest
import stripe
from django.conf import settings

from billing import stripe_api
from billing.sandbox.transport import SandboxTransport
from billing.webhook import own_endpoint

CLASSES = {
    "balance_transaction": stripe.BalanceTransaction,
    "charge": stripe.Charge,
    "checkout.session": stripe.checkout.Session,
    "customer": stripe.Customer,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "invoice": stripe.Invoice,
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "refund": stripe.Refund,
}
API_KEY = settings.STRIPE_SECRET_KEY
MIRRORED = {
    "balance_transaction": djstripe.models.BalanceTransaction,
    "charge": djstripe.models.Charge,
    "checkout.session": djstripe.models.Session,
    "customer": djstripe.models.Customer,
    "dispute": djstripe.models.Dispute,
    "invoice": djstripe.models.Invoice,
    "payment_intent": djstripe.models.PaymentIntent,
    "payment_method": djstripe.models.PaymentMethod,
    "refund": djstripe.models.Refund,
}


@pytest.fixture
def world(stripe_sandbox, checkout, customer):
    """A sandbox in which every kind of object exists."""
    stripe_sandbox.pay(checkout().id, "declined")
    stripe_sandbox.pay(checkout().id, "transfer_paid")
    session = checkout(
        customer=customer.id,
        payment_intent_data={"setup_future_usage": "off_session", "metadata": {"topup_id": "7"}},
        invoice_creation={"enabled": True},
        tax_id_collection={"enabled": True},
        customer_update={"name": "auto"},
        client_reference_id="7",
    )
    stripe_sandbox.pay(session.id)
    intent = stripe_sandbox.get(session.id)["payment_intent"]
    stripe_sandbox.fail_refund(stripe_sandbox.refund(intent, 500)["id"])
    stripe_sandbox.refund(intent, 700)
    stripe_sandbox.close_dispute(stripe_sandbox.dispute(intent)["id"], is_won=True)
    other = checkout(customer=customer.id)
    stripe_sandbox.pay(other.id)
    intent = stripe_sandbox.get(other.id)["payment_intent"]
    with stripe_api.calling() as client:
        invoices = client.v1.invoices
        invoice = invoices.create({"customer": customer.id})
        invoices.add_lines(invoice.id, {"lines": [{"amount": 20_000, "description": "Credit"}]})
        invoices.finalize_invoice(invoice.id)
        invoices.attach_payment(invoice.id, {"payment_intent": intent})
    return stripe_sandbox


@pytest.fixture
def world_of_djstripe(world, monkeypatch):
    """The same world, with a sandbox that dj-stripe calls too, through stripe-python's older interface."""
    monkeypatch.setattr(stripe, "default_http_client", SandboxTransport())
    own_endpoint()
    return world


def fits(value, wanted) -> bool:
    """Return whether a JSON value has a type of stripe-python, without its nested values."""
    if isinstance(wanted, str | typing.ForwardRef):
        return isinstance(value, dict)
    origin = typing.get_origin(wanted)
    if origin in {typing.Union, types.UnionType}:
        return any(fits(value, option) for option in typing.get_args(wanted))
    if origin is typing.Literal:
        return value in typing.get_args(wanted)
    if origin is list:
        return isinstance(value, list)
    if origin is dict or (isinstance(wanted, type) and issubclass(wanted, stripe.StripeObject)):
        return isinstance(value, dict)
    if origin is not None or wanted is typing.Any:
        return True
    if wanted is type(None):
        return value is None
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)


@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_objects_have_all_of_stripes_fields_and_no_others(world, kind):
    assert_fields_of(CLASSES[kind], world.all(kind))


@pytest.mark.parametrize(("part", "wanted"), [("lines", stripe.InvoiceLineItem), ("payments", stripe.InvoicePayment)])
def test_parts_of_invoices_have_all_of_stripes_fields_and_no_others(world, part, wanted):
    parts = [each for invoice in world.all("invoice") for each in invoice[part]["data"]]
    assert len(parts) == {"lines": 2, "payments": 3}[part]
    assert_fields_of(wanted, [{**each, "quantity_decimal": None} if part == "lines" else each for each in parts])


def assert_fields_of(wanted_class, objects):
    """Assert that each object has the fields of stripe-python's class."""
    kind, annotations = wanted_class.__name__, wanted_class.__annotations__
    assert objects
    for stripe_object in objects:
        shown = {name: value for name, value in stripe_object.items() if not name.startswith("_")}
        assert shown.keys() <= annotations.keys()
        for name, wanted in annotations.items():
            if typing.get_origin(wanted) is typing.ClassVar:
                continue
            if name in shown:
                assert fits(shown[name], wanted), (kind, name, shown[name], wanted)
            else:
                assert fits(None, wanted), f"{kind} lacks {name}"


@pytest.mark.parametrize("kind", sorted(MIRRORED))
def test_djstripe_stores_every_object(world_of_djstripe, kind):
    for stripe_object in world_of_djstripe.all(kind):
        retrieved = CLASSES[kind].retrieve(
            stripe_object["id"], api_key=API_KEY, stripe_version=settings.STRIPE_API_VERSION
        )
        row = MIRRORED[kind].sync_from_stripe_data(retrieved, api_key=API_KEY)
        assert row.id == stripe_object["id"]


def test_djstripe_stores_every_event(world):
    own_endpoint()
    events = world.all("event")
    assert len({event["type"] for event in events}) > 15
    for event in events:
        djstripe.models.Event._create_from_stripe_object(event, api_key=API_KEY)
    assert djstripe.models.Event.objects.count() == len(events)
