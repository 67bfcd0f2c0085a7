"""A completion from its admission to its settlement, in the process of the test: streams, shutdown, slots, bugs."""

import asyncio

import pytest

from accounts.errors import VoxsiteError
from accounts.gate import concurrency
from accounts.models import Organization
from apex import completions, service, upstream
from apex.models import Completion
from billing import ledger
from billing.models import Entry, Wallet

pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def organization(chat, transactional_db):
    organization = Organization.objects.create(name="Ours")
    ledger.credit(organization, amount_micros=1000, kind="credit", reference="start")
    return organization


def body(content, **fields):
    return {"messages": [{"role": "user", "content": content}], **fields}


def test_site_can_stream(organization):
    async def act():
        try:
            relay = service.relay_for(organization, body=body("normal 3", stream=True))
            head = await relay.head()
            assert head.error is None
            text = b"".join([chunk async for chunk in relay])
            return text, await relay.charged_micros()
        finally:
            await upstream.close()

    text, charged_micros = asyncio.run(act())
    assert text.count(b"word") == 3
    assert text.endswith(b"data: [DONE]\n\n")
    assert charged_micros == 7


def test_unread_stream_is_charged(organization):
    async def act():
        try:
            relay = service.relay_for(organization, body=body("normal 3", stream=True))
            await relay.head()
            relay.close()
            return await relay.charged_micros()
        finally:
            await upstream.close()

    assert asyncio.run(act()) == 7


@pytest.mark.parametrize(("content", "is_stream"), [("normal 5", False), ("normal 5", True), ("no-usage 5", True)])
def test_shutdown_after_an_answer_still_charges_it(organization, content, is_stream):
    async def act():
        try:
            relay = service.relay_for(organization, body=body(content, stream=is_stream))
            await relay.head()
            if is_stream:
                assert (b"".join([chunk async for chunk in relay])).endswith(b"data: [DONE]\n\n")
        finally:
            await upstream.close()
        # Closing the loop cancels the running tasks, as the shutdown of a server does.

    asyncio.run(act())
    assert Completion.objects.get().state == "charged"
    assert Entry.objects.filter(kind="usage").count() == 1
    assert Wallet.objects.get().held_micros == 0


@pytest.mark.parametrize("content", ["slow 3 0.2", "status 500", "cut 2", "no-usage 3", "ever-deeper"])
def test_slot_is_released_however_the_completion_ends(organization, content):
    async def act():
        try:
            relay = service.relay_for(organization, body=body(content, stream=True, max_tokens=100))
            await relay.head()
            in_use = concurrency.slots_in_use((completions.SLOTS, organization.pk))
            async for _ in relay:
                pass
            return in_use, concurrency.slots_in_use((completions.SLOTS, organization.pk))
        finally:
            await relay.charged_micros()
            await upstream.close()

    in_use, left = asyncio.run(act())
    assert left == 0
    if content.startswith("slow"):
        assert in_use == 1


@pytest.mark.parametrize(
    ("content", "fields"), [("normal 1", {"temperature": 9}), ("normal " * 10_000, {"max_tokens": 100})]
)
def test_refused_request_holds_no_slot(organization, content, fields):
    with pytest.raises(VoxsiteError):
        service.complete_and_wait(organization, body=body(content, **fields))
    assert concurrency.slots_in_use((completions.SLOTS, organization.pk)) == 0


def test_bug_in_the_middle_charges_the_output_and_releases_the_hold(organization):
    # One of the chunks can be parsed as JSON but not written as JSON again.
    async def act():
        try:
            relay = service.relay_for(organization, body=body("ever-deeper", stream=True))
            await relay.head()
            text = b"".join([chunk async for chunk in relay])
            return text, await relay.charged_micros()
        finally:
            await upstream.close()

    text, charged_micros = asyncio.run(act())
    assert b'"error"' in text.splitlines()[-2]
    assert charged_micros > 0
    assert Completion.objects.get().state == "charged"
    assert Wallet.objects.get().held_micros == 0
