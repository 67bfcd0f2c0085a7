"""The loop of the deliverer, with the database in a thread and requests that the test ends."""

import asyncio
import threading

import pytest
from django.db import DataError, OperationalError, transaction
from django.utils import timezone

from accounts import database_connection
from transcription.models import Delivery, DeliveryState, EventType
from transcription.webhooks import delivery, endpoints, outbox
from transcription.webhooks.deliverer import Deliverer, Pace
from transcription.webhooks.delivery import Result
from transcription.webhooks.lanes import Lanes

pytestmark = pytest.mark.django_db(transaction=True)


class Receivers:
    """Answers requests when the test says so. Those to `dead` hosts never."""

    def __init__(self, *, dead=()):
        self.dead = dead
        self.sent = []

    async def send(self, request):
        self.sent.append(request)
        if request.receiver.host in self.dead:
            await asyncio.Event().wait()
        return Result(request=request, finished_at=timezone.now(), status=200)


QUICK = Pace(poll_seconds=0.01, pause_seconds=0.01, stop_seconds=0.01)


class CountingLanes(Lanes):
    """Lanes that tell when the deliverer has looked for room in many turns."""

    def __init__(self):
        super().__init__()
        self.looks, self.have_been_looked_at = 0, threading.Event()

    def has_room(self):
        self.looks += 1
        if self.looks == 10:
            self.have_been_looked_at.set()
        return super().has_room()


def register(organization, host):
    return endpoints.register(organization, url=f"https://{host}/", events=["balance.low"])


def announce(organization):
    with transaction.atomic():
        outbox.announce(organization.pk, event=EventType.BALANCE_LOW, at=timezone.now(), data={})


def deliver_until(done, receivers, **fields):
    """Run a deliverer until `done` is true in the database."""

    async def run():
        running = Deliverer(send=receivers.send, pace=QUICK, **fields)
        task = asyncio.create_task(running.run())
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(done):
                assert not task.done(), task.exception()
                await asyncio.sleep(0.01)
            running.stop()
            await task

    asyncio.run(run())


def are_delivered(count):
    def ask():
        try:
            return Delivery.objects.filter(state=DeliveryState.DELIVERED).count() == count
        finally:
            database_connection.release()

    return ask


@pytest.mark.long
def test_all_that_is_due_is_delivered_once(organization):
    register(organization, "one.example")
    for _ in range(20):
        announce(organization)
    receivers = Receivers()
    deliver_until(are_delivered(20), receivers, lanes=Lanes(max_per_receiver=3))
    assert len({request.delivery_id for request in receivers.sent}) == len(receivers.sent) == 20


def test_dead_receiver_does_not_hold_up_others(organization):
    register(organization, "dead.example")
    register(organization, "alive.example")
    for _ in range(10):
        announce(organization)
    receivers = Receivers(dead={"dead.example:443"})
    deliver_until(are_delivered(10), receivers, lanes=Lanes(max_per_receiver=2))
    assert sum(request.receiver.host == "dead.example:443" for request in receivers.sent) == 2


def test_result_of_a_request_that_lasts_many_turns_is_recorded(organization):
    register(organization, "slow.example")
    announce(organization)
    receivers, lanes = Receivers(), CountingLanes()
    send = receivers.send

    async def send_slowly(request):
        assert await asyncio.to_thread(lanes.have_been_looked_at.wait, 30)
        return await send(request)

    receivers.send = send_slowly
    deliver_until(are_delivered(1), receivers, lanes=lanes)
    assert len(receivers.sent) == 1


def test_what_is_open_at_the_end_comes_back_after_its_lease(organization):
    register(organization, "dead.example")
    announce(organization)
    receivers = Receivers(dead={"dead.example:443"})
    deliver_until(lambda: bool(receivers.sent), receivers)
    (again,) = delivery.claim(now=timezone.now() + delivery.LEASE, lanes=Lanes())
    assert again.delivery_id == receivers.sent[0].delivery_id


def test_database_that_is_away_for_a_while_costs_nothing(organization, monkeypatch, caplog):
    register(organization, "one.example")
    announce(organization)
    faults = [OperationalError("away"), OperationalError("away")]
    record = delivery.record

    def unreliable(result):
        if faults:
            raise faults.pop()
        record(result)

    monkeypatch.setattr(delivery, "record", unreliable)
    receivers = Receivers()
    deliver_until(are_delivered(1), receivers)
    assert len(receivers.sent) == 1
    assert "will ask again" in caplog.text


@pytest.mark.parametrize("error", [DataError("no"), ValueError("no")])
def test_result_that_cannot_be_written_does_not_hold_up_others(organization, monkeypatch, caplog, error):
    register(organization, "one.example")
    announce(organization)
    announce(organization)
    record = delivery.record
    refused = []

    def choosy(result):
        if not refused:
            refused.append(result)
            raise error
        record(result)

    monkeypatch.setattr(delivery, "record", choosy)
    deliver_until(are_delivered(1), Receivers())
    assert refused[0].request.delivery_id in caplog.text
