"""A real receiver of webhooks, and a deliverer that works when the test says so."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Organization
from tests.transcription import remote
from tests.transcription.remote import Remote
from transcription.models import Delivery, WebhookEndpoint
from transcription.webhooks import delivery, endpoints, sending
from transcription.webhooks.delivery import Result
from transcription.webhooks.lanes import Lanes


@pytest.fixture
def receiver(settings: Any) -> Iterator[Remote]:
    """A customer's server on this machine: /whole accepts, /status?code=500 does not; see SCENARIOS."""
    with remote.running() as server:
        settings.ALLOWED_PRIVATE_ADDRESSES = [server.socket]
        yield server


@pytest.fixture
def register(organization: Organization, receiver: Remote) -> Callable[..., WebhookEndpoint]:
    """Register a path of the receiver, for everything unless the test names events."""

    def make(path: str = "/whole", **fields: Any) -> WebhookEndpoint:
        events = fields.pop("events", [str(event) for event in endpoints.EVENTS])
        return endpoints.register(organization, url=receiver.url(path), events=events, **fields)

    return make


def deliver_due(*, now: datetime | None = None, lanes: Lanes | None = None, **options: Any) -> list[Result]:
    """Do once what the deliverer does all the time, with the pauses of the schedule as they are without chance.

    options: of `sending.send`.
    """
    requests = delivery.claim(now=now or timezone.now(), lanes=lanes or Lanes())

    async def send_all() -> list[Result]:
        return await asyncio.gather(*(sending.send(request, **options) for request in requests))

    results = asyncio.run(send_all())
    for result in results:
        delivery.record(result, chance=lambda: 0.5)
    return results


def only_delivery() -> Delivery:
    return Delivery.objects.get()
