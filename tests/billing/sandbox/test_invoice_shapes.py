"""Invoices of the sandbox have the fields of stripe-python's types, and dj-stripe can store them."""

import pytest
import stripe

from tests.billing.sandbox.stripe_types import assert_fields, assert_fields_of, assert_stored_by_djstripe


def test_invoices_have_all_of_stripes_fields_and_no_others(world):
    assert_fields(world.all("invoice"))


def test_djstripe_stores_every_invoice(world_of_djstripe):
    assert_stored_by_djstripe(world_of_djstripe.all("invoice"))


@pytest.mark.parametrize(("part", "wanted"), [("lines", stripe.InvoiceLineItem), ("payments", stripe.InvoicePayment)])
def test_parts_of_invoices_have_all_of_stripes_fields_and_no_others(world, part, wanted):
    parts = [each for invoice in world.all("invoice") for each in invoice[part]["data"]]
    assert len(parts) == {"lines": 2, "payments": 3}[part]
    assert_fields_of(wanted, [{**each, "quantity_decimal": None} if part == "lines" else each for each in parts])
