"""What each address of Stripe's API answers: only those that this product asks, each as strict as Stripe is.

Source of names, limits and words: docs.stripe.com/api, read 2026-11-20, and stripe-python 15.6.
"""

import re
from collections.abc import Callable
from typing import Any

from billing.sandbox import invoices, payment_actions, shapes
from billing.sandbox.parameters import COMMON, ApiError, flag, metadata_of, only, payable, typed, whole
from billing.sandbox.payment_actions import ActionRefused, emit, page_url, without_hidden_fields
from billing.sandbox.shapes import StripeObject
from billing.sandbox.store import NoSuchObject, State

ACCOUNT_ID = "acct_sandbox"
MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 10

CUSTOMER = COMMON | {"address", "description", "email", "invoice_settings", "name", "phone", "preferred_locales"}
SESSION = COMMON | {
    "allow_promotion_codes",
    "automatic_tax",
    "billing_address_collection",
    "cancel_url",
    "client_reference_id",
    "currency",
    "custom_text",
    "customer",
    "customer_creation",
    "customer_email",
    "customer_update",
    "expires_at",
    "invoice_creation",
    "line_items",
    "locale",
    "mode",
    "payment_intent_data",
    "payment_method_options",
    "payment_method_types",
    "saved_payment_method_options",
    "submit_type",
    "success_url",
    "tax_id_collection",
    "ui_mode",
}
INTENT = COMMON | {
    "amount",
    "automatic_payment_methods",
    "confirm",
    "currency",
    "customer",
    "description",
    "error_on_requires_action",
    "off_session",
    "payment_method",
    "payment_method_types",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "statement_descriptor_suffix",
}
INTENT_DATA = {
    "description",
    "metadata",
    "receipt_email",
    "setup_future_usage",
    "statement_descriptor",
    "statement_descriptor_suffix",
}
REFUND = COMMON | {"amount", "charge", "instructions_email", "payment_intent", "reason"}
REFUND_REASONS = {"duplicate", "fraudulent", "requested_by_customer"}
PAGE = {"created", "ending_before", "expand", "limit", "starting_after"}

# Lists that are sent only when asked for, and of which the sandbox has nothing to tell.
EMPTY_LISTS = {"discounts", "refunds", "sources", "subscriptions", "tax_ids"}

KINDS = {
    "balance_transactions": "balance_transaction",
    "charges": "charge",
    "checkout/sessions": "checkout.session",
    "customers": "customer",
    "disputes": "dispute",
    "events": "event",
    "invoices": "invoice",
    "payment_intents": "payment_intent",
    "payment_methods": "payment_method",
    "refunds": "refund",
}
FILTERS = {
    "balance_transactions": {"source", "type"},
    "charges": {"customer", "payment_intent"},
    "checkout/sessions": {"customer", "payment_intent", "status"},
    "customers": {"email"},
    "disputes": {"charge", "payment_intent"},
    "events": {"type", "types"},
    "invoices": {"customer", "status"},
    "payment_intents": {"customer"},
    "payment_methods": {"allow_redisplay", "customer", "type"},
    "refunds": {"charge", "payment_intent"},
}
UPDATES = {
    "charges": COMMON | {"description", "receipt_email"},
    "checkout/sessions": COMMON,
    "customers": CUSTOMER,
    "payment_intents": COMMON | {"description", "receipt_email"},
    "payment_methods": COMMON | {"allow_redisplay"},
    "refunds": COMMON,
}


def handle(state: State, method: str, path: str, params: StripeObject) -> tuple[int, StripeObject]:
    """Return HTTP status and body. Raises ApiError."""
    for wanted, pattern, handler in ROUTES:
        match = re.fullmatch(pattern, path)
        if wanted == method and match:
            try:
                done = handler(state, params, **match.groupdict())
            except NoSuchObject as error:
                raise ApiError(f"No such object: '{error}'", status=404, code="resource_missing", param="id") from error
            except ActionRefused as error:
                raise ApiError(str(error), code=error.code) from error
            if isinstance(done, tuple):
                return done
            return 200, _expanded(state, done, params.get("expand") or [])
    raise ApiError(f"Unrecognized request URL ({method}: {path}).", status=404)


# --- Any object ------------------------------------------------------------------------------------------------------


def _retrieve(state: State, params: StripeObject, *, kind: str, object_id: str) -> StripeObject:
    only(params, {"expand"})
    stripe_object = state.get(object_id, kind=KINDS[kind])
    return payment_actions.expire_if_due(state, stripe_object) if kind == "checkout/sessions" else stripe_object


def _list(state: State, params: StripeObject, *, kind: str) -> StripeObject:
    only(params, PAGE | FILTERS[kind])
    objects = state.list(KINDS[kind])
    for name in FILTERS[kind] & params.keys():
        if name == "types":
            objects = [stripe_object for stripe_object in objects if stripe_object["type"] in params["types"]]
        else:
            objects = [stripe_object for stripe_object in objects if stripe_object[name] == params[name]]
    for word, number in (params.get("created") or {}).items():
        objects = [
            stripe_object
            for stripe_object in objects
            if _is_in_time(stripe_object["created"], word, whole(number, "created"))
        ]
    if "starting_after" in params:
        ids = [stripe_object["id"] for stripe_object in objects]
        if params["starting_after"] not in ids:
            raise NoSuchObject(params["starting_after"])
        objects = objects[ids.index(params["starting_after"]) + 1 :]
    limit = whole(params.get("limit", str(DEFAULT_PAGE_SIZE)), "limit")
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise ApiError(f"Limit must be between 1 and {MAX_PAGE_SIZE}", param="limit")
    return shapes.page_of(objects[:limit], url=f"/v1/{kind}", has_more=len(objects) > limit)


def _is_in_time(created: int, word: str, number: int) -> bool:
    return {"gt": created > number, "gte": created >= number, "lt": created < number, "lte": created <= number}[word]


def _update(state: State, params: StripeObject, *, kind: str, object_id: str) -> StripeObject:
    if kind not in UPDATES:
        raise ApiError(f"Unrecognized request URL (POST: /v1/{kind}/{object_id}).", status=404)
    only(params, UPDATES[kind])
    stripe_object = state.get(object_id, kind=KINDS[kind])
    changed = {name: value for name, value in params.items() if name not in COMMON}
    for name, value in changed.items():
        stripe_object[name] = (
            {**stripe_object[name], **value}
            if isinstance(value, dict) and isinstance(stripe_object[name], dict)
            else value
        )
    # An empty value takes a key of the metadata away.
    metadata = {**stripe_object["metadata"], **metadata_of(params)}
    stripe_object["metadata"] = {name: value for name, value in metadata.items() if value}
    state.put(stripe_object)
    if kind == "customers":
        emit(state, "customer.updated", stripe_object)
    return stripe_object


def _account(state: State, params: StripeObject) -> StripeObject:
    return shapes.account(ACCOUNT_ID)


# --- Customers and their cards ---------------------------------------------------------------------------------------


def _create_customer(state: State, params: StripeObject) -> StripeObject:
    only(params, CUSTOMER)
    fields = {name: value for name, value in params.items() if name not in COMMON | {"invoice_settings"}}
    fields["metadata"] = metadata_of(params)
    customer = state.put(shapes.customer(state.new_id("cus"), now=state.now, fields=fields))
    emit(state, "customer.created", customer)
    return customer


def _cards_of(state: State, params: StripeObject, *, customer_id: str) -> StripeObject:
    state.get(customer_id, kind="customer")
    return _list(state, {**params, "customer": customer_id}, kind="payment_methods")


def _detach(state: State, params: StripeObject, *, object_id: str) -> StripeObject:
    only(params, {"expand"})
    method = state.get(object_id, kind="payment_method")
    if method["customer"] is None:
        raise ApiError("The payment method you provided is not attached to a customer so detachment is impossible.")
    previous, method["customer"] = {"customer": method["customer"]}, None
    emit(state, "payment_method.detached", state.put(method), previous=previous)
    return method


# --- Checkout --------------------------------------------------------------------------------------------------------


def _create_session(state: State, params: StripeObject) -> StripeObject:
    only(params, SESSION)
    if params.get("mode") != "payment":
        raise ApiError("The sandbox sells in mode 'payment' only.", param="mode")
    if not params.get("success_url"):
        raise ApiError("You must pass `success_url`.", code="parameter_missing", param="success_url")
    if params.get("customer") and params.get("customer_email"):
        raise ApiError("You may only specify one of these parameters: customer, customer_email.", param="customer")
    if params.get("customer"):
        state.get(params["customer"], kind="customer")
    intent_data = params.get("payment_intent_data") or {}
    only(intent_data, INTENT_DATA, prefix="payment_intent_data")
    items = _items(state, params.get("line_items"))
    amount = payable(sum(item["amount"] * item["quantity"] for item in items), items[0]["currency"])
    expires_at = whole(params.get("expires_at", str(state.now + shapes.MAX_SESSION_SECONDS)), "expires_at")
    # A minute's grace for a caller whose clock is not ours.
    if not shapes.MIN_SESSION_SECONDS - 60 <= expires_at - state.now <= shapes.MAX_SESSION_SECONDS + 60:
        raise ApiError(
            "The `expires_at` timestamp must be 30 minutes to 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    taken = SESSION - COMMON - {"currency", "customer_update", "line_items", "mode", "payment_intent_data", "ui_mode"}
    fields = {name: typed(value) for name, value in params.items() if name in taken}
    session_id = state.new_id("cs_test")
    session = shapes.session(
        session_id,
        now=state.now,
        amount=amount,
        currency=items[0]["currency"],
        url=page_url("pay", session_id),
        fields=fields | {"expires_at": expires_at, "metadata": metadata_of(params)},
    )
    if session["customer"]:
        session["customer_creation"] = None
    session["line_items"] = shapes.line_items(session_id, items)
    session["_payment_intent_data"] = {
        "description": intent_data.get("description"),
        "metadata": metadata_of(intent_data),
        "receipt_email": intent_data.get("receipt_email"),
        "setup_future_usage": intent_data.get("setup_future_usage"),
    }
    return state.put(session)


def _items(state: State, given: Any) -> list[StripeObject]:
    if not isinstance(given, list) or not given:
        raise ApiError("You must pass `line_items`.", code="parameter_missing", param="line_items")
    items = []
    for number, line in enumerate(given):
        price = line.get("price_data") or {}
        at = f"line_items[{number}][price_data]"
        if not price.get("currency") or "unit_amount" not in price:
            raise ApiError(f"NoSuchObject required param: {at}.", code="parameter_missing", param=at)
        items.append(
            {
                "id": state.new_id("li"),
                "description": (price.get("product_data") or {}).get("name") or "",
                "amount": whole(price["unit_amount"], f"{at}[unit_amount]"),
                "currency": price["currency"],
                "quantity": whole(line.get("quantity", "1"), f"line_items[{number}][quantity]"),
            }
        )
    return items


def _expire_session(state: State, params: StripeObject, *, object_id: str) -> StripeObject:
    only(params, {"expand"})
    return payment_actions.expire_session(state, state.get(object_id, kind="checkout.session"))


# --- Payments without a page -----------------------------------------------------------------------------------------


def _create_intent(state: State, params: StripeObject) -> StripeObject | tuple[int, StripeObject]:
    only(params, INTENT)
    currency = params.get("currency") or ""
    if not currency:
        raise ApiError("NoSuchObject required param: currency.", code="parameter_missing", param="currency")
    amount = payable(whole(params.get("amount", ""), "amount"), currency)
    is_confirmed, is_off_session = flag(params.get("confirm")), flag(params.get("off_session"))
    if is_off_session and not is_confirmed:
        raise ApiError("You can only pass `off_session` when you confirm at once.", param="off_session")
    method = state.get(params["payment_method"], kind="payment_method") if params.get("payment_method") else None
    if params.get("customer"):
        state.get(params["customer"], kind="customer")
    if method and method["customer"] != params.get("customer"):
        raise ApiError(
            f"The PaymentMethod {method['id']} does not belong to the Customer of this payment.", param="payment_method"
        )
    if is_confirmed and method is None:
        raise ApiError(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
        )
    fields: StripeObject = {
        name: params[name] for name in ("customer", "description", "receipt_email") if name in params
    }
    fields |= {"metadata": metadata_of(params), "setup_future_usage": params.get("setup_future_usage")}
    intent = shapes.payment_intent(state.new_id("pi"), now=state.now, amount=amount, currency=currency, fields=fields)
    emit(state, "payment_intent.created", state.put(intent))
    if not is_confirmed or method is None:
        return intent
    failure = payment_actions.pay_intent(state, intent, method=method, is_off_session=is_off_session)
    if failure is None:
        return intent
    # The failed payment stays, unlike with every other error.
    return 402, {"error": {"type": "card_error", "doc_url": "https://stripe.com/docs/error-codes", **failure}}


def _cancel_intent(state: State, params: StripeObject, *, object_id: str) -> StripeObject:
    only(params, {"cancellation_reason", "expand"})
    intent = state.get(object_id, kind="payment_intent")
    if intent["status"] in {"succeeded", "canceled", "processing"}:
        raise ApiError(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )
    intent |= {"status": "canceled", "canceled_at": state.now}
    intent["cancellation_reason"] = params.get("cancellation_reason")
    emit(state, "payment_intent.canceled", state.put(intent))
    return intent


# --- Refunds ---------------------------------------------------------------------------------------------------------


def _create_refund(state: State, params: StripeObject) -> StripeObject:
    only(params, REFUND)
    if params.get("reason") and params["reason"] not in REFUND_REASONS:
        raise ApiError(f"Invalid reason: must be one of {', '.join(sorted(REFUND_REASONS))}", param="reason")
    charge_id = params.get("charge")
    if params.get("payment_intent"):
        charge_id = state.get(params["payment_intent"], kind="payment_intent")["latest_charge"]
    if not charge_id:
        raise ApiError(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    amount = whole(params["amount"], "amount") if "amount" in params else None
    if amount is not None and amount < 1:
        raise ApiError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    fields = {"metadata": metadata_of(params), "reason": params.get("reason")}
    return payment_actions.refund(state, state.get(charge_id, kind="charge"), amount=amount, fields=fields)


# --- Showing -------------------------------------------------------------------------------------------------------


def _expanded(state: State, stripe_object: StripeObject, paths: list[str]) -> StripeObject:
    """Return what is shown of the object, with references replaced by what they point to."""
    if stripe_object["object"] == "list":
        inner = [path.removeprefix("data.") for path in paths if path.startswith("data.")]
        return {**stripe_object, "data": [_expanded(state, part, inner) for part in stripe_object["data"]]}
    shown: StripeObject = dict(without_hidden_fields(stripe_object))
    for first in {path.partition(".")[0] for path in paths}:
        rest = [path.partition(".")[2] for path in paths if path.startswith(f"{first}.")]
        value = stripe_object.get(first)
        found = state.find(value) if isinstance(value, str) else value
        if isinstance(found, dict) and "object" in found:
            shown[first] = _expanded(state, found, rest)
        elif first in EMPTY_LISTS:
            shown[first] = shapes.page_of([], url="")
        elif first not in stripe_object:
            raise ApiError(f"This property cannot be expanded ({first}).", param="expand")
    return shown


Handler = Callable[..., StripeObject | tuple[int, StripeObject]]
_KIND = rf"(?P<kind>{'|'.join(KINDS)})"
_ID = r"(?P<object_id>[\w-]+)"
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", r"/v1/account", _account),
    ("POST", r"/v1/customers", _create_customer),
    ("GET", r"/v1/customers/(?P<customer_id>\w+)/payment_methods", _cards_of),
    ("POST", rf"/v1/payment_methods/{_ID}/detach", _detach),
    ("POST", r"/v1/checkout/sessions", _create_session),
    ("POST", rf"/v1/checkout/sessions/{_ID}/expire", _expire_session),
    ("POST", r"/v1/payment_intents", _create_intent),
    ("POST", rf"/v1/payment_intents/{_ID}/cancel", _cancel_intent),
    ("POST", r"/v1/invoices", invoices.create),
    ("POST", rf"/v1/invoices/{_ID}/add_lines", invoices.add_lines),
    ("POST", rf"/v1/invoices/{_ID}/finalize", invoices.finalize),
    ("POST", rf"/v1/invoices/{_ID}/attach_payment", invoices.attach_payment),
    ("POST", rf"/v1/invoices/{_ID}/void", invoices.void),
    ("POST", r"/v1/refunds", _create_refund),
    ("GET", rf"/v1/{_KIND}", _list),
    ("GET", rf"/v1/{_KIND}/{_ID}", _retrieve),
    ("POST", rf"/v1/{_KIND}/{_ID}", _update),
)
