"""Invoices of the sandbox have the fields of stripe-python's types, and dj-stripe can store them."""

import pytest
import stripe

from tests.billing.sandbox.stripe_types import CLASSES, assert_fields_of, store_in_djstripe

KINDS = ["invoice"]


@pytest.mark.parametrize("kind", KINDS)
def test_objects_have_all_of_stripes_fields_and_no_others(world, kind):
    assert_fields_of(CLASSES[kind], world.all(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_djstripe_stores_every_object(world_of_djstripe, kind):
    for stripe_object in world_of_djstripe.all(kind):
        store_in_djstripe(stripe_object)


@pytest.mark.parametrize(("part", "wanted"), [("lines", stripe.InvoiceLineItem), ("payments", stripe.InvoicePayment)])
def test_parts_of_invoices_have_all_of_stripes_fields_and_no_others(world, part, wanted):
    parts = [each for invoice in world.all("invoice") for each in invoice[part]["data"]]
    assert len(parts) == {"lines": 2, "payments": 3}[part]
    assert_fields_of(wanted, [{**each, "quantity_decimal": None} if part == "lines" else each for each in parts])
