"""What each address of Stripe's API does. Only the addresses that the site and dj-stripe call.

Source of names, limits and messages: docs.stripe.com/api, read 2026-11-20, and stripe-python 15.6. The parameters of an
address are those of the TypedDict that its route names. A handler supports a parameter by reading it, in every state.
The rest is refused after it has run (`Parameters.require_all_read`).
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import stripe

from billing.sandbox import invoices, payment_actions, payment_shapes, refund_actions, shapes
from billing.sandbox.events import emit, without_hidden_fields
from billing.sandbox.parameters import ApiError, Parameters, metadata_of, parse, payable
from billing.sandbox.payment_actions import page_url
from billing.sandbox.shapes import StripeObject
from billing.sandbox.store import ActionRefused, NoSuchObject, State

ACCOUNT_ID = "acct_sandbox"
MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 10

# Lists that Stripe sends only if `expand` names them. The sandbox has nothing to put into them.
EMPTY_LISTS = {"discounts", "refunds", "sources", "subscriptions", "tax_ids"}
PAGINATION = {"created", "ending_before", "expand", "limit", "starting_after"}

# Collections that can be listed and whose objects can be retrieved.
COLLECTIONS: dict[str, Any] = {
    "balance_transactions": stripe.BalanceTransaction,
    "charges": stripe.Charge,
    "checkout/sessions": stripe.checkout.Session,
    "customers": stripe.Customer,
    "disputes": stripe.Dispute,
    "events": stripe.Event,
    "invoices": stripe.Invoice,
    "payment_intents": stripe.PaymentIntent,
    "payment_methods": stripe.PaymentMethod,
    "refunds": stripe.Refund,
}

# Status and body of a response that is an error, but keeps what the request changed.
ErrorResponse = tuple[int, StripeObject]
Handler = Callable[..., StripeObject | ErrorResponse]


def handle(state: State, method: str, path: str, given: dict[str, Any]) -> tuple[int, StripeObject]:
    """Return HTTP status and body. Raises ApiError, after which the caller must roll back.

    given: the parameters, as `form_encoding.decode` returns them.
    """
    for route_method, pattern, params_type, handler in ROUTES:
        match = re.fullmatch(pattern, path)
        if route_method == method and match:
            params = parse(given, params_type)
            paths = params.get("expand") or []
            try:
                result = handler(state, params, **match.groupdict())
            except NoSuchObject as error:
                raise ApiError(f"No such object: '{error}'", status=404, code="resource_missing", param="id") from error
            except ActionRefused as error:
                raise ApiError(str(error), code=error.code) from error
            params.require_all_read()
            if isinstance(result, tuple):
                return result
            return 200, _expand(state, result, paths)
    raise ApiError(f"Unrecognized request URL ({method}: {path}).", status=404)


# --- Any object ------------------------------------------------------------------------------------------------------


def _retrieve(state: State, params: Parameters, *, collection: str, object_id: str) -> StripeObject:
    found = state.get(object_id, kind=COLLECTIONS[collection].OBJECT_NAME)
    return payment_actions.expire_if_due(state, found) if collection == "checkout/sessions" else found


def _list(state: State, params: Parameters, *, collection: str) -> StripeObject:
    stripe_class = COLLECTIONS[collection]
    objects = state.list(stripe_class.OBJECT_NAME)
    for name in params.keys() - PAGINATION:
        # A filter that is not a field of the objects stays unread, and so is refused.
        if name in stripe_class.__annotations__ and not isinstance(value := params[name], Parameters | list):
            objects = [found for found in objects if found.get(name) == value]
    created = params.get("created", {})
    bounds = dict(created) if isinstance(created, Mapping) else {"gte": created, "lte": created}
    objects = [found for found in objects if _is_within(found["created"], bounds)]
    if "starting_after" in params:
        ids = [found["id"] for found in objects]
        if params["starting_after"] not in ids:
            raise NoSuchObject(params["starting_after"])
        objects = objects[ids.index(params["starting_after"]) + 1 :]
    limit = params.get("limit", DEFAULT_PAGE_SIZE)
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise ApiError(f"Limit must be between 1 and {MAX_PAGE_SIZE}", param="limit")
    return shapes.page_of(objects[:limit], url=f"/v1/{collection}", has_more=len(objects) > limit)


def _is_within(number: int, bounds: dict[str, int]) -> bool:
    comparisons = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
    return all(comparisons[name](number, bound) for name, bound in bounds.items())


def _retrieve_account(state: State, params: Parameters) -> StripeObject:
    return shapes.account(ACCOUNT_ID)


# --- Customers and their cards ---------------------------------------------------------------------------------------


def _create_customer(state: State, params: Parameters) -> StripeObject:
    fields = {"email": params.get("email"), "name": params.get("name"), "metadata": metadata_of(params)}
    customer = state.put(shapes.customer(state.new_id("cus"), now=state.now, fields=fields))
    emit(state, "customer.created", customer)
    return customer


def _update_customer(state: State, params: Parameters, *, object_id: str) -> StripeObject:
    customer = state.get(object_id, kind="customer")
    previous = {name: customer[name] for name in ("name", "email") if name in params}
    # An empty text takes the value away.
    customer |= {name: params[name] or None for name in previous}
    emit(state, "customer.updated", state.put(customer), previous=previous)
    return customer


def _detach_payment_method(state: State, params: Parameters, *, object_id: str) -> StripeObject:
    method = state.get(object_id, kind="payment_method")
    if method["customer"] is None:
        raise ApiError("The payment method you provided is not attached to a customer so detachment is impossible.")
    previous, method["customer"] = {"customer": method["customer"]}, None
    emit(state, "payment_method.detached", state.put(method), previous=previous)
    return method


# --- Checkout --------------------------------------------------------------------------------------------------------


def _create_session(state: State, params: Parameters) -> StripeObject:
    if params.get("mode") != "payment":
        raise ApiError("The payment sandbox supports only the mode 'payment'.", param="mode")
    if not params.get("success_url"):
        raise ApiError("You must pass `success_url`.", code="parameter_missing", param="success_url")
    customer_id = params.get("customer")
    if customer_id and params.get("customer_email"):
        raise ApiError("You may only specify one of these parameters: customer, customer_email.", param="customer")
    if customer_id:
        state.get(customer_id, kind="customer")
    items = _line_items(state, params.get("line_items") or [])
    amount = payable(sum(item["amount"] * item["quantity"] for item in items), items[0]["currency"])
    expires_at = params.get("expires_at", state.now + shapes.MAX_SESSION_SECONDS)
    # A minute of tolerance, because the caller's clock may differ.
    if not shapes.MIN_SESSION_SECONDS - 60 <= expires_at - state.now <= shapes.MAX_SESSION_SECONDS + 60:
        raise ApiError(
            "The `expires_at` timestamp must be 30 minutes to 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    fields: StripeObject = {
        name: params.get(name) for name in ("cancel_url", "client_reference_id", "customer_email", "success_url")
    }
    fields |= {
        "customer": customer_id,
        # Stripe ignores it if there is a customer already.
        "customer_creation": None if customer_id else params.get("customer_creation", "if_required"),
        "expires_at": expires_at,
        "invoice_creation": _invoice_creation(params.get("invoice_creation")),
        "metadata": metadata_of(params),
        "saved_payment_method_options": _saved_payment_method_options(params.get("saved_payment_method_options")),
        "tax_id_collection": _tax_id_collection(params),
    }
    session_id = state.new_id("cs_test")
    session = shapes.session(
        session_id,
        now=state.now,
        amount=amount,
        currency=items[0]["currency"],
        url=page_url("pay", session_id),
        fields=fields,
    )
    session["line_items"] = shapes.line_items(session_id, items)
    intent_data = params.get("payment_intent_data") or {}
    session["_payment_intent_data"] = {
        "description": intent_data.get("description"),
        "metadata": metadata_of(intent_data),
        "setup_future_usage": intent_data.get("setup_future_usage"),
    }
    return state.put(session)


def _line_items(state: State, given: list[Parameters]) -> list[StripeObject]:
    if not given:
        raise ApiError("You must pass `line_items`.", code="parameter_missing", param="line_items")
    items = []
    for number, line in enumerate(given):
        price = line.get("price_data") or {}
        path = f"line_items[{number}][price_data]"
        if "unit_amount" not in price or "product_data" not in price:
            raise ApiError(f"Missing required param: {path}.", code="parameter_missing", param=path)
        items.append(
            {
                "id": state.new_id("li"),
                "description": price["product_data"]["name"],
                "amount": price["unit_amount"],
                "currency": price["currency"],
                "quantity": line.get("quantity", 1),
            }
        )
    return items


def _invoice_creation(given: Parameters | None) -> StripeObject | None:
    if given is None:
        return None
    return {
        "enabled": given["enabled"],
        "invoice_data": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": None,
            "metadata": metadata_of(given.get("invoice_data") or {}),
            "rendering_options": None,
        },
    }


def _saved_payment_method_options(given: Parameters | None) -> StripeObject | None:
    if given is None:
        return None
    return {
        "allow_redisplay_filters": None,
        "payment_method_remove": None,
        "payment_method_save": given.get("payment_method_save"),
    }


def _tax_id_collection(params: Parameters) -> StripeObject | None:
    customer_id, update = params.get("customer"), params.get("customer_update")
    if update is not None and not customer_id:
        raise ApiError("`customer_update` can only be used with `customer`.", param="customer_update")
    # The pay page asks for neither a name nor an address, so there is nothing to store with the customer.
    updates = {name: update.get(name) for name in ("name", "address")} if update is not None else {}
    given = params.get("tax_id_collection")
    if given is None:
        return None
    if given["enabled"] and customer_id and updates.get("name") != "auto":
        raise ApiError(
            "To collect a tax ID of an existing customer, set `customer_update[name]` to `auto`.",
            param="customer_update",
        )
    return {"enabled": given["enabled"], "required": "never"}


def _expire_session(state: State, params: Parameters, *, object_id: str) -> StripeObject:
    return payment_actions.expire_session(state, state.get(object_id, kind="checkout.session"))


# --- Payments without a page -----------------------------------------------------------------------------------------


def _create_payment_intent(state: State, params: Parameters) -> StripeObject | ErrorResponse:
    amount = payable(params["amount"], params["currency"])
    is_confirmed, is_off_session = params.get("confirm", False), params.get("off_session", False)
    if is_off_session and not is_confirmed:
        raise ApiError("You can only pass `off_session` when you confirm at once.", param="off_session")
    customer_id, method_id = params.get("customer"), params.get("payment_method")
    method = state.get(method_id, kind="payment_method") if method_id else None
    if customer_id:
        state.get(customer_id, kind="customer")
    if method and method["customer"] != customer_id:
        raise ApiError(
            f"The PaymentMethod {method['id']} does not belong to the Customer of this payment.", param="payment_method"
        )
    if is_confirmed and method is None:
        raise ApiError(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
        )
    fields = {"customer": customer_id, "description": params.get("description"), "metadata": metadata_of(params)}
    intent = payment_shapes.payment_intent(
        state.new_id("pi"), now=state.now, amount=amount, currency=params["currency"], fields=fields
    )
    emit(state, "payment_intent.created", state.put(intent))
    if not is_confirmed or method is None:
        return intent
    failure = payment_actions.pay_intent(state, intent, method=method, is_off_session=bool(is_off_session))
    if failure is None:
        return intent
    # Unlike all other errors, this one leaves the failed payment behind.
    return 402, {"error": {"type": "card_error", "doc_url": "https://stripe.com/docs/error-codes", **failure}}


# --- Refunds ---------------------------------------------------------------------------------------------------------


def _create_refund(state: State, params: Parameters) -> StripeObject:
    charge_id = params.get("charge")
    if charge_id and params.get("payment_intent"):
        raise ApiError("The payment sandbox takes either `charge` or `payment_intent`.", param="charge")
    if params.get("payment_intent"):
        charge_id = state.get(params["payment_intent"], kind="payment_intent")["latest_charge"]
    if not charge_id:
        raise ApiError(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    amount = params.get("amount")
    if amount is not None and amount < 1:
        raise ApiError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    fields = {"metadata": metadata_of(params), "reason": params.get("reason")}
    return refund_actions.refund(state, state.get(charge_id, kind="charge"), amount=amount, fields=fields)


# --- Responses -------------------------------------------------------------------------------------------------------


def _expand(state: State, found: StripeObject, paths: list[str]) -> StripeObject:
    """Return an object as Stripe sends it, with the references that `expand` names replaced by their objects."""
    if found["object"] == "list":
        inner = [path.removeprefix("data.") for path in paths if path.startswith("data.")]
        return {**found, "data": [_expand(state, part, inner) for part in found["data"]]}
    shown = without_hidden_fields(found)
    for first in {path.partition(".")[0] for path in paths}:
        rest = [path.partition(".")[2] for path in paths if path.startswith(f"{first}.")]
        value = found.get(first)
        expanded = state.find(value) if isinstance(value, str) else value
        if isinstance(expanded, dict) and "object" in expanded:
            shown[first] = _expand(state, expanded, rest)
        elif first in EMPTY_LISTS:
            shown[first] = shapes.page_of([], url="")
        elif first not in found:
            raise ApiError(f"This property cannot be expanded ({first}).", param="expand")
    return shown


def _collection_routes() -> Iterator[tuple[str, str, type, Handler]]:
    for name, stripe_class in COLLECTIONS.items():
        module = stripe.params.checkout if name.startswith("checkout/") else stripe.params
        list_type, retrieve_type = (
            getattr(module, f"{stripe_class.__name__}{verb}Params") for verb in ("List", "Retrieve")
        )
        yield "GET", f"/v1/{name}", list_type, partial(_list, collection=name)
        yield "GET", rf"/v1/{name}/{_ID}", retrieve_type, partial(_retrieve, collection=name)


_ID = r"(?P<object_id>[\w-]+)"
# (method, pattern of the path, TypedDict of the parameters, handler)
ROUTES: tuple[tuple[str, str, type, Handler], ...] = (
    ("GET", r"/v1/account", stripe.params.AccountRetrieveCurrentParams, _retrieve_account),
    ("POST", r"/v1/customers", stripe.params.CustomerCreateParams, _create_customer),
    ("POST", rf"/v1/customers/{_ID}", stripe.params.CustomerUpdateParams, _update_customer),
    (
        "POST",
        rf"/v1/payment_methods/{_ID}/detach",
        stripe.params.PaymentMethodDetachParams,
        _detach_payment_method,
    ),
    ("POST", r"/v1/checkout/sessions", stripe.params.checkout.SessionCreateParams, _create_session),
    ("POST", rf"/v1/checkout/sessions/{_ID}/expire", stripe.params.checkout.SessionExpireParams, _expire_session),
    ("POST", r"/v1/payment_intents", stripe.params.PaymentIntentCreateParams, _create_payment_intent),
    ("POST", r"/v1/invoices", stripe.params.InvoiceCreateParams, invoices.create),
    ("POST", rf"/v1/invoices/{_ID}/add_lines", stripe.params.InvoiceAddLinesParams, invoices.add_lines),
    ("POST", rf"/v1/invoices/{_ID}/finalize", stripe.params.InvoiceFinalizeInvoiceParams, invoices.finalize),
    ("POST", rf"/v1/invoices/{_ID}/attach_payment", stripe.params.InvoiceAttachPaymentParams, invoices.attach_payment),
    ("POST", rf"/v1/invoices/{_ID}/void", stripe.params.InvoiceVoidInvoiceParams, invoices.void),
    ("POST", r"/v1/refunds", stripe.params.RefundCreateParams, _create_refund),
    *_collection_routes(),
)
