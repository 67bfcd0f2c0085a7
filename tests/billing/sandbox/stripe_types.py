"""The types that stripe-python gives Stripe's objects, and whether an object has one."""

import types
import typing

import djstripe.models
import stripe
from django.conf import settings

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
# The models in which dj-stripe keeps them.
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


def assert_fields(objects) -> None:
    """Assert that each object has the fields of stripe-python's class for its kind."""
    assert objects
    for stripe_object in objects:
        assert_fields_of(CLASSES[stripe_object["object"]], [stripe_object])


def assert_fields_of(wanted_class, objects) -> None:
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


def assert_stored_by_djstripe(objects) -> None:
    """Let dj-stripe fetch and store objects of the sandbox."""
    assert objects
    for stripe_object in objects:
        _store_in_djstripe(stripe_object)


def _store_in_djstripe(stripe_object) -> None:
    kind = stripe_object["object"]
    api_key = settings.STRIPE_SECRET_KEY
    retrieved = CLASSES[kind].retrieve(stripe_object["id"], api_key=api_key, stripe_version=settings.STRIPE_API_VERSION)
    row = MIRRORED[kind].sync_from_stripe_data(retrieved, api_key=api_key)
    assert row.id == stripe_object["id"]


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
