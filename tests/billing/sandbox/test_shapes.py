"""The sandbox's objects have the fields of stripe-python's types, and dj-stripe can store them."""

import djstripe.models
import pytest
from django.conf import settings

from billing.webhook import own_endpoint
from tests.billing.sandbox.stripe_types import CLASSES, assert_fields_of, store_in_djstripe

KINDS = ["checkout.session", "customer", "event"]


@pytest.mark.parametrize("kind", KINDS)
def test_objects_have_all_of_stripes_fields_and_no_others(world, kind):
    assert_fields_of(CLASSES[kind], world.all(kind))


@pytest.mark.parametrize("kind", ["checkout.session", "customer"])
def test_djstripe_stores_every_object(world_of_djstripe, kind):
    for stripe_object in world_of_djstripe.all(kind):
        store_in_djstripe(stripe_object)


def test_djstripe_stores_every_event(world):
    own_endpoint()
    events = world.all("event")
    assert len({event["type"] for event in events}) > 15
    for event in events:
        djstripe.models.Event._create_from_stripe_object(event, api_key=settings.STRIPE_SECRET_KEY)
    assert djstripe.models.Event.objects.count() == len(events)
