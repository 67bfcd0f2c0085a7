"""Payments of the sandbox have the fields of stripe-python's types, and dj-stripe can store them."""

import pytest

from tests.billing.sandbox.stripe_types import assert_fields, assert_stored_by_djstripe

KINDS = ["balance_transaction", "charge", "dispute", "payment_intent", "payment_method", "refund"]


def test_payments_have_all_of_stripes_fields_and_no_others(world):
    for kind in KINDS:
        assert_fields(world.all(kind))


@pytest.mark.long
def test_djstripe_stores_every_payment(world_of_djstripe):
    for kind in KINDS:
        assert_stored_by_djstripe(world_of_djstripe.all(kind))
