"""The sandbox's objects have the fields of stripe-python's types, and dj-stripe can store them."""

import djstripe.models
from django.conf import settings

from billing.webhook import own_endpoint
from tests.billing.sandbox.stripe_types import assert_fields, assert_stored_by_djstripe


def test_objects_have_all_of_stripes_fields_and_no_others(world):
    for kind in ("checkout.session", "customer", "event"):
        assert_fields(world.all(kind))


def test_djstripe_stores_every_object(world_of_djstripe):
    for kind in ("checkout.session", "customer"):
        assert_stored_by_djstripe(world_of_djstripe.all(kind))


def test_djstripe_stores_every_event(world):
    own_endpoint()
    events = world.all("event")
    assert len({event["type"] for event in events}) > 15
    for event in events:
        djstripe.models.Event._create_from_stripe_object(event, api_key=settings.STRIPE_SECRET_KEY)
    assert djstripe.models.Event.objects.count() == len(events)
