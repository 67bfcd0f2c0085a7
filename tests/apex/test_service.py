"""Completions that the site itself makes, in the process of the test."""

import asyncio
import uuid

import pytest
from asgiref.sync import sync_to_async

from accounts.errors import InvalidField, NotConfigured, PaymentRequired, UpstreamFailed
from accounts.gate.idempotency import own_key
from accounts.models import Organization
from apex import service, upstream
from apex.models import Completion
from billing import ledger
from billing.models import Entry, Wallet

pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db(transaction=True)]
KEY = own_key("playground", uuid.uuid4())


@pytest.fixture
def organization(chat, transactional_db):
    organization = Organization.objects.create(name="Ours")
    ledger.credit(organization, amount_micros=1000, kind="credit", reference="start")
    return organization


def body(content, **fields):
    return {"messages": [{"role": "user", "content": content}], **fields}


def test_answer_is_returned_after_it_was_charged(organization):
    done = service.complete_and_wait(organization, body=body("normal 5", max_tokens=100))
    assert done.text == "word0 word1 word2 word3 word4"
    assert done.charged_micros == 8
    assert Wallet.objects.get().balance_micros == 992
    assert Wallet.objects.get().held_micros == 0
    assert Completion.objects.get().api_key is None
    assert Entry.objects.get(kind="usage").details["model"] == "apex-latest"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"temperature": 9}, InvalidField),
        ({"content": "status 401"}, UpstreamFailed),
        ({"content": "normal " * 10_000}, PaymentRequired),
    ],
)
def test_error_is_raised_and_costs_nothing(organization, fields, error):
    content = fields.pop("content", "normal 1")
    with pytest.raises(error):
        service.complete_and_wait(organization, body=body(content, **fields))
    assert Wallet.objects.get().balance_micros == 1000
    assert Wallet.objects.get().held_micros == 0


def test_without_an_upstream_it_is_not_configured(organization, settings):
    settings.APEX_UPSTREAMS = []
    with pytest.raises(NotConfigured):
        service.complete_and_wait(organization, body=body("normal 1", max_tokens=100))


def test_price_estimate_covers_the_charge(organization):
    estimate_micros = service.max_price_micros(body("normal 5", max_tokens=100))
    done = service.complete_and_wait(organization, body=body("normal 5", max_tokens=100))
    assert done.charged_micros < estimate_micros < 70
    with pytest.raises(InvalidField):
        service.max_price_micros(body("normal 5", max_tokens=0))


def test_same_key_returns_the_same_answer_and_charges_once(organization):
    first, again = (
        service.complete_and_wait(organization, body=body("normal 5"), idempotency_key=KEY) for _ in range(2)
    )
    assert again == first
    assert first.charged_micros == 8
    assert Entry.objects.filter(kind="usage").count() == 1
    assert Completion.objects.count() == 1


def test_key_of_a_failed_request_can_be_used_again(organization):
    with pytest.raises(UpstreamFailed):
        service.complete_and_wait(organization, body=body("status 500"), idempotency_key=KEY)
    assert service.complete_and_wait(organization, body=body("normal 5"), idempotency_key=KEY).charged_micros == 8


def test_synchronous_call_breaks_no_stream_of_its_process(organization):
    """The call has an event loop of its own. On the server's loop it would close all other connections at its end."""

    async def act():
        try:
            relay = service.relay_for(organization, body=body("slow 8 0.1", stream=True, max_tokens=100))
            await relay.head()
            await sync_to_async(service.complete_and_wait)(organization, body=body("normal 1", max_tokens=100))
            return b"".join([chunk async for chunk in relay])
        finally:
            await upstream.close()

    text = asyncio.run(act())
    assert text.count(b"word") == 8
    assert text.endswith(b"data: [DONE]\n\n")
