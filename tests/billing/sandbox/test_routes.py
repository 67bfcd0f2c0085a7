"""What each address of Stripe's API answers and refuses."""

import pytest

from billing import stripe_api


def call(function):
    with stripe_api.calling() as stripe:
        return function(stripe)


@pytest.mark.parametrize(
    "changed",
    [
        {"mode": "subscription"},
        {"success_url": None},
        {"line_items": None},
        {"line_items": []},
        {"imagined": "yes"},
        {"payment_intent_data": {"imagined": "yes"}},
        {"payment_intent_data": {"receipt_email": "stripe-knows-it@example.com"}},
        {"automatic_tax": {"enabled": True}},
        {"allow_promotion_codes": True},
        {"invoice_creation": {"enabled": True, "invoice_data": {"footer": "Stripe knows it"}}},
        {"tax_id_collection": {"enabled": True, "required": "if_supported"}},
        {"customer_update": {"name": "auto"}},
        {"customer_update": {"shipping": "auto"}},
        {"customer": "cus_none"},
        {"expires_at": 1},
        {"metadata": {"k" * 41: "v"}},
        {"line_items": [{"price_data": {"currency": "usd", "unit_amount": 49, "product_data": {"name": "x"}}}]},
        {"line_items": [{"price_data": {"currency": "eur", "unit_amount": 500, "product_data": {"name": "x"}}}]},
        {"line_items": [{"price_data": {"currency": "usd", "unit_amount": "lots", "product_data": {"name": "x"}}}]},
    ],
)
def test_invalid_or_unsupported_session_is_refused(stripe_sandbox, checkout, changed):
    with pytest.raises((stripe_api.StripeRefused, stripe_api.StripeMissing)):
        checkout(**changed)
    assert stripe_sandbox.all("checkout.session") == []


def test_tax_id_of_a_known_customer_needs_an_update_of_the_name(stripe_sandbox, checkout, customer):
    wanted = {"customer": customer.id, "tax_id_collection": {"enabled": True}}
    for update in (None, {"address": "auto"}, {"name": "never"}):
        with pytest.raises(stripe_api.StripeRefused):
            checkout(**wanted, customer_update=update)
    assert checkout(**wanted, customer_update={"name": "auto", "address": "auto"}).status == "open"


@pytest.mark.parametrize(
    "changed",
    [
        {"reasom": "duplicate"},
        {"reason": "imagined"},
        {"amount": 0},
        {"amount": -1},
        {"amount": "all"},
        {"amount": 1.5},
        {"payment_intent": None},
        {"charge": "ch_1"},
        {"metadata": {"k": "v" * 501}},
        # Stripe knows these, but the sandbox does not support them.
        {"reverse_transfer": True},
        {"instructions_email": "alice@example.com"},
    ],
)
def test_invalid_or_unsupported_refund_returns_no_money(stripe_sandbox, checkout, changed):
    session = checkout()
    stripe_sandbox.pay(session.id)
    params = {"payment_intent": stripe_sandbox.get(session.id)["payment_intent"], **changed}
    with pytest.raises((stripe_api.StripeRefused, stripe_api.StripeMissing)):
        call(lambda stripe: stripe.v1.refunds.create({k: v for k, v in params.items() if v is not None}))
    assert stripe_sandbox.all("refund") == []
    assert stripe_sandbox.all("charge")[0]["amount_refunded"] == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": None},
        {"amount": -2000},
        {"currency": None},
        {"currency": "eur"},
        {"confirmm": True},
        {"confirm": "yes"},
        {"confirm": False},
        {"payment_method": "pm_none"},
        {"payment_method": None},
        {"customer": None},
        # Stripe knows these, but the sandbox does not support them.
        {"capture_method": "manual"},
        {"application_fee_amount": 100},
        {"receipt_email": "alice@example.com"},
        {"payment_method_options": {"card": {"moto": True}}},
    ],
)
def test_invalid_or_unsupported_charge_takes_no_money(stripe_sandbox, saved_card, changed):
    before = stripe_sandbox.all("charge")
    params = {"amount": 2000, "currency": "usd", "customer": saved_card["customer"], "confirm": True}
    params |= {"payment_method": saved_card["id"], "off_session": True, **changed}
    with pytest.raises((stripe_api.StripeRefused, stripe_api.StripeMissing)):
        call(lambda stripe: stripe.v1.payment_intents.create({k: v for k, v in params.items() if v is not None}))
    assert stripe_sandbox.all("charge") == before
    assert len(stripe_sandbox.all("payment_intent")) == 1


def test_unsupported_parameter_of_a_declined_charge_is_refused_too(stripe_sandbox, saved_card):
    stripe_sandbox.set_card_outcome(saved_card["id"], "declined")
    params = {"amount": 2000, "currency": "usd", "customer": saved_card["customer"], "confirm": True}
    params |= {"payment_method": saved_card["id"], "off_session": True, "receipt_email": "alice@example.com"}
    with pytest.raises(stripe_api.StripeRefused):
        call(lambda stripe: stripe.v1.payment_intents.create(params))


@pytest.mark.parametrize(
    "changed", [{"emial": "a@example.com"}, {"phone": "+49 30 1"}, {"address": {"city": "Berlin"}}]
)
def test_invalid_or_unsupported_customer_is_refused(stripe_sandbox, changed):
    with pytest.raises(stripe_api.StripeRefused):
        call(lambda stripe: stripe.v1.customers.create({"name": "Acme", **changed}))
    assert stripe_sandbox.all("customer") == []


def test_customer_is_renamed_and_a_field_that_the_sandbox_does_not_know_is_refused(stripe_sandbox, customer):
    call(lambda stripe: stripe.v1.customers.update(customer.id, {"name": "Beta"}))
    assert stripe_sandbox.get(customer.id)["name"] == "Beta"
    for changed in ({"name": "Gamma", "phone": "+49 30 1"}, {"nmae": "Gamma"}):
        with pytest.raises(stripe_api.StripeRefused):
            call(lambda stripe, changed=changed: stripe.v1.customers.update(customer.id, changed))
    assert stripe_sandbox.get(customer.id)["name"] == "Beta"
    with pytest.raises(stripe_api.StripeMissing):
        call(lambda stripe: stripe.v1.customers.update("cus_none", {"name": "Gamma"}))


def test_unknown_objects_and_addresses_are_missing(stripe_sandbox, customer):
    for retrieve in (
        lambda stripe: stripe.v1.checkout.sessions.retrieve("cs_none"),
        # An object of another kind.
        lambda stripe: stripe.v1.refunds.retrieve(customer.id),
        lambda stripe: stripe.v1.subscriptions.list(),
    ):
        with pytest.raises(stripe_api.StripeMissing):
            call(retrieve)


def test_references_are_expanded_when_asked_for(stripe_sandbox, checkout, customer):
    session = checkout(customer=customer.id, invoice_creation={"enabled": True})
    stripe_sandbox.pay(session.id)
    plain = call(lambda stripe: stripe.v1.checkout.sessions.retrieve(session.id))
    assert isinstance(plain.payment_intent, str)
    paths = ["payment_intent.latest_charge", "invoice", "line_items"]
    full = call(lambda stripe: stripe.v1.checkout.sessions.retrieve(session.id, {"expand": paths}))
    assert full.payment_intent.latest_charge.receipt_url.startswith("http")
    assert full.invoice.hosted_invoice_url.startswith("http")
    assert full.line_items.data[0].amount_total == 20000
    with pytest.raises(stripe_api.StripeRefused):
        call(lambda stripe: stripe.v1.checkout.sessions.retrieve(session.id, {"expand": ["imagined"]}))


def test_lists_come_in_pages_newest_first(stripe_sandbox, checkout):
    ids = [checkout().id for _ in range(3)][::-1]
    page = call(lambda stripe: stripe.v1.checkout.sessions.list({"limit": 2}))
    assert ([session.id for session in page.data], page.has_more) == (ids[:2], True)
    page = call(lambda stripe: stripe.v1.checkout.sessions.list({"starting_after": ids[1]}))
    assert ([session.id for session in page.data], page.has_more) == (ids[2:], False)


def test_lists_are_filtered(stripe_sandbox, checkout, customer):
    checkout(customer=customer.id)
    checkout()
    found = call(lambda stripe: stripe.v1.checkout.sessions.list({"customer": customer.id}))
    assert len(found.data) == 1


@pytest.mark.parametrize(
    "params",
    [
        {"colour": "red"},
        {"created": {"after": 1}},
        {"limit": 101},
        {"limit": "all"},
        {"status": "imagined"},
        # Stripe knows these two, but the sandbox supports neither.
        {"ending_before": "cs_1"},
        {"customer_details": {"email": "alice@example.com"}},
    ],
)
def test_list_with_an_invalid_or_unsupported_parameter_is_refused(stripe_sandbox, checkout, params):
    checkout()
    with pytest.raises(stripe_api.StripeRefused):
        call(lambda stripe: stripe.v1.checkout.sessions.list(params))


def test_filters_are_supported_even_if_there_is_nothing_to_filter(stripe_sandbox):
    params = {
        "customer": "cus_1",
        "payment_intent": "pi_1",
        "status": "open",
        "created": {"gte": 1, "lt": 2},
        "limit": 5,
    }
    assert call(lambda stripe: stripe.v1.checkout.sessions.list(params)).data == []
    assert call(lambda stripe: stripe.v1.checkout.sessions.list({"created": 1})).data == []


def test_lists_are_bounded_by_time(stripe_sandbox, checkout):
    session = checkout()
    for bounds, count in (({"gte": session.created}, 1), ({"gt": session.created}, 0), ({"lt": session.created}, 0)):
        found = call(lambda stripe, bounds=bounds: stripe.v1.checkout.sessions.list({"created": bounds}))
        assert len(found.data) == count
