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


# --- Upstreams that think for long -----------------------------------------------------------------------------------


def stream_of(organization, content):
    """Return the error of the head, the stream, and the micro-dollars that were charged."""

    async def act():
        try:
            relay = service.relay_for(organization, body=body(content, stream=True))
            head = await relay.head()
            text = b"".join([chunk async for chunk in relay])
            return head.error, text, await relay.charged_micros()
        finally:
            await upstream.close()

    return asyncio.run(act())


@pytest.mark.long
def test_comments_extend_the_time_of_the_first_chunk(organization, settings):
    settings.APEX_FIRST_CHUNK_SECONDS = 1
    error, text, charged_micros = stream_of(organization, "thinking 6")
    assert error is None
    assert text.startswith(b"data: ")
    assert text.endswith(b"data: [DONE]\n\n")
    assert charged_micros == 7


@pytest.mark.long
def test_comments_extend_no_time_beyond_the_total(organization, settings):
    settings.APEX_FIRST_CHUNK_SECONDS = settings.APEX_TOTAL_SECONDS = 1
    error, _, charged_micros = stream_of(organization, "thinking 60")
    assert error is not None
    assert (error.type, charged_micros) == ("upstream_timeout", 0)


@pytest.mark.long
def test_client_gets_the_header_and_comments_while_the_upstream_thinks(organization, settings):
    settings.APEX_KEEP_ALIVE_SECONDS = 0.5
    error, text, charged_micros = stream_of(organization, "thinking 6")
    assert error is None
    assert text.startswith(b": keep-alive\n\n")
    assert text.endswith(b"data: [DONE]\n\n")
    assert charged_micros == 7


@pytest.mark.long
@pytest.mark.parametrize(
    ("content", "error_type"), [("thinking 3 0", b"upstream_failed"), ("silent 30", b"upstream_timeout")]
)
def test_error_after_a_comment_is_an_event_and_costs_nothing(organization, settings, content, error_type):
    settings.APEX_KEEP_ALIVE_SECONDS, settings.APEX_FIRST_CHUNK_SECONDS = 0.3, 2
    error, text, charged_micros = stream_of(organization, content)
    assert error is None
    assert text.startswith(b": keep-alive\n\n")
    assert error_type in text.splitlines()[-2]
    assert b"Nothing was charged" in text
    assert b"[DONE]" not in text
    assert charged_micros == 0
    row = Completion.objects.get()
    assert (row.state, row.finish) == ("released", error_type.decode())
    assert Wallet.objects.get().held_micros == 0


@pytest.mark.long
def test_silence_in_the_middle_is_filled_with_comments(organization, settings):
    settings.APEX_KEEP_ALIVE_SECONDS, settings.APEX_IDLE_SECONDS = 0.2, 2
    _, text, _ = stream_of(organization, "stall 2 30")
    before, _, after = text.partition(b"word1")
    assert b": keep-alive" not in before
    assert after.count(b": keep-alive\n\n") > 1


@pytest.mark.long
def test_comments_are_not_stored_for_a_replay(organization, settings):
    settings.APEX_KEEP_ALIVE_SECONDS = 0.3

    def stream():
        async def act():
            try:
                relay = service.relay_for(organization, body=body("thinking 3", stream=True), idempotency_key="k")
                return (await relay.head()).is_replay, b"".join([chunk async for chunk in relay])
            finally:
                await relay.charged_micros()
                await upstream.close()

        return asyncio.run(act())

    assert b": keep-alive" in stream()[1]
    is_replay, text = stream()
    assert is_replay
    assert text.startswith(b"data: ")


@pytest.mark.long
def test_client_that_reads_nothing_gets_one_comment(organization, settings):
    settings.APEX_KEEP_ALIVE_SECONDS = 0.1

    async def act():
        try:
            relay = service.relay_for(organization, body=body("thinking 4", stream=True))
            await relay.head()
            await relay.charged_micros()
            return b"".join([chunk async for chunk in relay])
        finally:
            await upstream.close()

    assert asyncio.run(act()).count(b": keep-alive") == 1
