"""The loop of the deliverer, with the database in a thread and requests that the test ends."""

import asyncio

import pytest
from django.db import DataError, OperationalError, transaction
from django.utils import timezone

from accounts import database_connection
from transcription.models import Delivery, DeliveryState, EventType
from transcription.webhooks import deliverer, delivery, endpoints, outbox
from transcription.webhooks.deliverer import Deliverer
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


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(deliverer, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(deliverer, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(deliverer, "STOP_SECONDS", 0.01)


def register(organization, host):
    return endpoints.register(organization, url=f"https://{host}/", events=["balance.low"])


def announce(organization):
    with transaction.atomic():
        outbox.announce(organization.pk, event=EventType.BALANCE_LOW, at=timezone.now(), data={})


def deliver_until(done, receivers, **fields):
    """Run a deliverer until `done` is true in the database."""

    async def run():
        running = Deliverer(send=receivers.send, **fields)
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


def test_result_of_a_request_that_lasts_many_turns_is_recorded(organization, monkeypatch):
    register(organization, "slow.example")
    announce(organization)
    receivers = Receivers()
    send, turn, turns, has_lasted = receivers.send, Deliverer._turn, [], asyncio.Event()

    async def send_slowly(request):
        await has_lasted.wait()
        return await send(request)

    async def counted(self, database):
        turns.append(1)
        if len(turns) == 5:
            has_lasted.set()
        return await turn(self, database)

    monkeypatch.setattr(Deliverer, "_turn", counted)
    receivers.send = send_slowly
    deliver_until(are_delivered(1), receivers)
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


def test_result_that_the_database_refuses_does_not_hold_up_others(organization, monkeypatch, caplog):
    register(organization, "one.example")
    announce(organization)
    announce(organization)
    record = delivery.record
    refused = []

    def choosy(result):
        if not refused:
            refused.append(result)
            raise DataError("no")
        record(result)

    monkeypatch.setattr(delivery, "record", choosy)
    deliver_until(are_delivered(1), Receivers())
    assert refused[0].request.delivery_id in caplog.text
