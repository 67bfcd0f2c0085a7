"""Parameters are read by stripe-python's types: nothing is accepted that they do not declare, nothing is ignored."""

import pytest
import stripe

from billing.sandbox.parameters import ApiError, metadata_of, parse
from billing.sandbox.routes import ROUTES

SESSION = stripe.params.checkout.SessionCreateParams
REFUND = stripe.params.RefundCreateParams
INTENT = stripe.params.PaymentIntentCreateParams
LINES = stripe.params.InvoiceAddLinesParams
INVOICE = stripe.params.InvoiceCreateParams


def test_values_have_the_types_that_stripe_python_declares():
    params = parse(
        {
            "mode": "payment",
            "line_items": {
                "1": {"quantity": "2"},
                "0": {"price_data": {"currency": "usd", "unit_amount": "700", "product_data": {"name": "Credit"}}},
            },
            "invoice_creation": {"enabled": "true"},
            "metadata": {"topup_id": "7", "8": "a name that is a number"},
            "expand": {"0": "invoice"},
        },
        SESSION,
    )
    assert params["mode"] == "payment"
    assert params["line_items"][0]["price_data"]["unit_amount"] == 700
    assert params["line_items"][1]["quantity"] == 2
    assert params["invoice_creation"]["enabled"] is True
    assert params["metadata"] == {"topup_id": "7", "8": "a name that is a number"}
    assert params["expand"] == ["invoice"]


@pytest.mark.parametrize(
    ("params_type", "given", "param", "code"),
    [
        (REFUND, {"reasom": "duplicate"}, "reasom", "parameter_unknown"),
        # An option of stripe-python, which it sends as a header.
        (REFUND, {"idempotency_key": "k"}, "idempotency_key", "parameter_unknown"),
        (SESSION, {"payment_intent_data": {"metdata": {}}}, "payment_intent_data[metdata]", "parameter_unknown"),
        (
            SESSION,
            {"line_items": {"0": {}, "1": {"price_data": {"currency": "usd", "unit_amont": "1"}}}},
            "line_items[1][price_data][unit_amont]",
            "parameter_unknown",
        ),
        (
            SESSION,
            {"invoice_creation": {"enabled": "true", "invoice_data": {"color": "red"}}},
            "invoice_creation[invoice_data][color]",
            "parameter_unknown",
        ),
        (INTENT, {"amount": "700"}, "currency", "parameter_missing"),
        (LINES, {}, "lines", "parameter_missing"),
        (
            SESSION,
            {"line_items": {"0": {"price_data": {}}}},
            "line_items[0][price_data][currency]",
            "parameter_missing",
        ),
        (REFUND, {"amount": "lots"}, "amount", "parameter_invalid_integer"),
        (REFUND, {"amount": "1.5"}, "amount", "parameter_invalid_integer"),
        (REFUND, {"amount": "1_000"}, "amount", "parameter_invalid_integer"),
        (REFUND, {"amount": ""}, "amount", "parameter_invalid_integer"),
        (REFUND, {"amount": {"0": "1"}}, "amount", None),
        (REFUND, {"reason": "imagined"}, "reason", None),
        (REFUND, {"reason": {"0": "duplicate"}}, "reason", None),
        (REFUND, {"metadata": "topup_id"}, "metadata", None),
        (REFUND, {"metadata": {"topup": {"id": "7"}}}, "metadata[topup]", None),
        (INVOICE, {"auto_advance": "yes"}, "auto_advance", None),
        (INVOICE, {"discounts": "half"}, "discounts", None),
        (SESSION, {"line_items": {"first": {}}}, "line_items", None),
        (SESSION, {"line_items": "many"}, "line_items", None),
        (SESSION, {"success_url": {"url": "https://example.com"}}, "success_url", None),
    ],
)
def test_parameter_that_stripe_python_does_not_declare_is_refused(params_type, given, param, code):
    with pytest.raises(ApiError) as raised:
        parse(given, params_type)
    assert (raised.value.error.get("param"), raised.value.error.get("code")) == (param, code)
    assert param in str(raised.value) or code == "parameter_invalid_integer"


def test_empty_text_clears_what_stripe_lets_one_clear():
    params = parse({"discounts": "", "metadata": ""}, INVOICE)
    assert (params["discounts"], metadata_of(params)) == ("", {})


@pytest.mark.parametrize(
    ("given", "read", "param"),
    [
        ({"customer": "cus_1", "footer": "x"}, lambda params: params["customer"], "footer"),
        (
            {"issuer": {"type": "account", "account": "acct_1"}},
            lambda params: params["issuer"]["type"],
            "issuer[account]",
        ),
        (
            {"discounts": {"0": {"coupon": "a"}, "1": {"coupon": "b"}}},
            lambda params: params["discounts"][0]["coupon"],
            "discounts[1][coupon]",
        ),
    ],
)
def test_parameter_that_nothing_reads_is_refused(given, read, param):
    params = parse(given, INVOICE)
    read(params)
    with pytest.raises(ApiError, match="does not support") as raised:
        params.require_all_read()
    assert raised.value.error["param"] == param


def test_parameters_that_were_all_read_are_supported():
    params = parse({"customer": "cus_1", "issuer": {"type": "self"}, "metadata": {"a": "b"}}, INVOICE)
    assert (params["customer"], params["issuer"]["type"], metadata_of(params)) == ("cus_1", "self", {"a": "b"})
    params.require_all_read()


@pytest.mark.parametrize("metadata", [{"k" * 41: "v"}, {"k": "v" * 501}, {str(n): "v" for n in range(51)}])
def test_metadata_beyond_stripes_limits_is_refused(metadata):
    with pytest.raises(ApiError):
        metadata_of(parse({"metadata": metadata}, REFUND))


def test_types_of_all_routes_can_be_read():
    for _, _, params_type, _ in ROUTES:
        with pytest.raises(ApiError):
            parse({"imagined": "yes"}, params_type)
