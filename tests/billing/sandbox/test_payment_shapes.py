"""Payments of the sandbox have the fields of stripe-python's types, and dj-stripe can store them."""

import pytest

from tests.billing.sandbox.stripe_types import CLASSES, assert_fields_of, store_in_djstripe

KINDS = ["balance_transaction", "charge", "dispute", "payment_intent", "payment_method", "refund"]


@pytest.mark.parametrize("kind", KINDS)
def test_objects_have_all_of_stripes_fields_and_no_others(world, kind):
    assert_fields_of(CLASSES[kind], world.all(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_djstripe_stores_every_object(world_of_djstripe, kind):
    for stripe_object in world_of_djstripe.all(kind):
        store_in_djstripe(stripe_object)
