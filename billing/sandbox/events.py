"""Events: what Stripe tells the site of a change, as it shows objects in responses."""

from django.conf import settings

from billing.sandbox import shapes, webhook_sender
from billing.sandbox.shapes import StripeObject
from billing.sandbox.store import State

# Fields that Stripe sends only if `expand` names them.
SENT_ON_REQUEST = {"checkout.session": "line_items", "invoice": "payments"}


def without_hidden_fields(stripe_object: StripeObject) -> StripeObject:
    """Return an object without the fields that Stripe does not send, or only if `expand` names them.

    The sandbox's own fields begin with an underscore.
    """
    hidden = SENT_ON_REQUEST.get(stripe_object["object"], "")
    return {name: value for name, value in stripe_object.items() if name != hidden and not name.startswith("_")}


def emit(state: State, kind: str, stripe_object: StripeObject, *, previous: StripeObject | None = None) -> None:
    """Store an event and queue its webhook.

    kind: the event's type. previous: the fields that an update changed, with their values before.
    """
    made = shapes.event(
        state.new_id("evt"),
        now=state.now,
        kind=kind,
        stripe_object=without_hidden_fields(stripe_object),
        version=settings.STRIPE_API_VERSION,
        previous=previous,
    )
    made["request"] = {"id": state.request_id, "idempotency_key": state.idempotency_key}
    webhook_sender.enqueue(state, state.put(made))
