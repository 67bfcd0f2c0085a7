"""The doors to the chat endpoint: for programs, who come with a key, and for the site itself.

Behind each is a `Relay`, which goes on whether or not anybody waits for it.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from accounts.errors import VoxsiteError
from accounts.gate.limits import Allowance
from accounts.models import ApiKey, Organization
from apex import catalogue, completions, upstream, usage_meter, wire
from apex.batcher import Desk
from apex.relay import Relay
from apex.types import Begun, Order

# Larger requests are read in a thread: every stream of this process would wait for one of megabytes.
LARGEST_READ_AT_ONCE = 64 * 1024

_begins: Desk[Order, Begun] = Desk(completions.begin)
_looks: Desk[str, Begun] = Desk(completions.look)


@dataclass(frozen=True, slots=True)
class Completed:
    """A completion that has ended. answer: OpenAI's object. charged_micros: what it cost."""

    answer: dict[str, Any]
    charged_micros: int

    @property
    def usage(self) -> usage_meter.Usage | None:
        """The tokens that it took, None if the upstream did not state them."""
        return usage_meter.read_usage(self.answer.get("usage"))

    @property
    def text(self) -> str:
        """What the model said, without what neither a page nor a database can hold: NUL, and half surrogate pairs."""
        said = str(self.answer["choices"][0].get("message", {}).get("content") or "")
        return said.replace("\0", "").encode("utf-8", "replace").decode()

    @property
    def is_cut(self) -> bool:
        """Whether the model had more to say than the tokens that it was given."""
        return bool(self.answer["choices"][0].get("finish_reason") == "length")


async def relay(
    raw: bytes, *, key: str, request_id: str, idempotency_key: str = "", fault: VoxsiteError | None = None
) -> Relay:
    """Begin to relay a program's request, as it came, for the key that it carries.

    fault: what is wrong with it already; told once it is known who asks.
    """
    if fault is not None:
        order, request = Order(key=key, fault=fault), None
    elif len(raw) > LARGEST_READ_AT_ONCE:
        order, request = await asyncio.to_thread(_read, raw, key=key, idempotency_key=idempotency_key)
    else:
        order, request = _read(raw, key=key, idempotency_key=idempotency_key)
    return Relay(order, request, begin=lambda: _begins.do(order, group=key), request_id=request_id)


def is_configured() -> bool:
    """Tell whether there is an upstream that can be asked."""
    return bool(settings.APEX_UPSTREAMS)


def relay_for(
    organization: Organization, *, body: dict[str, Any], api_key: ApiKey | None = None, idempotency_key: str = ""
) -> Relay:
    """Begin to relay a request of the site itself in an organization's name, past the rate limits.

    body: OpenAI's request; `model` may be left out for the first of the catalogue. api_key: whose monthly limit counts.
    idempotency_key: the same one brings the same answer for a day, and no second charge.
    """
    order, request = _read(_raw(body), key="", idempotency_key=idempotency_key)
    begins: Desk[Order, Begun] = Desk(
        lambda orders: [completions.begin_for(organization, order=each, api_key=api_key) for each in orders]
    )
    return Relay(order, request, begin=lambda: begins.do(order, group=organization.pk))


async def complete(
    organization: Organization, *, body: dict[str, Any], api_key: ApiKey | None = None, idempotency_key: str = ""
) -> Completed:
    """Return the answer to one request of the site itself, after it was charged.

    idempotency_key: the same one brings the same answer for a day, and no second charge.
    Raises accounts.errors: PaymentRequired, BadRequest, NotConfigured, UpstreamFailed, RateLimited; Conflict while the
    first request with the key still runs.
    """
    one = relay_for(organization, body={**body, "stream": False}, api_key=api_key, idempotency_key=idempotency_key)
    head = await one.head()
    charged_micros = await one.charged_micros()
    if head.error is not None:
        raise head.error
    assert head.answer is not None, "it asked for no stream"
    return Completed(answer=json.loads(head.answer), charged_micros=charged_micros)


def complete_and_wait(
    organization: Organization, *, body: dict[str, Any], api_key: ApiKey | None = None, idempotency_key: str = ""
) -> Completed:
    """Do what `complete` does from synchronous code. Give the database connection back before (it may take minutes)."""

    async def on_a_loop_of_its_own() -> Completed:
        try:
            return await complete(organization, body=body, api_key=api_key, idempotency_key=idempotency_key)
        finally:
            await upstream.close()

    # Not async_to_sync: below a synchronous view it takes the server's own loop, where the last line would cut every
    # stream of the process, and it would end the work with a client that leaves.
    return asyncio.run(on_a_loop_of_its_own())


async def look(*, key: str) -> Allowance:
    """Return what is left of the rate limit to whoever only looks. Raises what `begin` would before it takes money."""
    begun = await _looks.do(key, group=key)
    if begun.error is not None:
        raise begun.error
    assert begun.allowance is not None, "whoever is known has one"
    return begun.allowance


def most_micros(body: dict[str, Any]) -> int:
    """Return what a request can cost at most by our estimate of its prompt. Raises BadRequest."""
    order, _ = _read(_raw(body), key="")
    if order.fault is not None:
        raise order.fault
    assert order.model is not None, "an order without a fault has a model"
    return order.model.rates.price_micros(
        prompt_tokens=order.prompt_tokens, completion_tokens=order.completion_tokens * order.choice_count
    )


def _read(raw: bytes, *, key: str, idempotency_key: str = "") -> tuple[Order, wire.ChatRequest | None]:
    """Return the order; a fault of the request becomes part of it, to be told once it is known who asks."""
    limits = {name: model.max_completion_tokens for name, model in catalogue.models().items()}
    try:
        request = wire.read_request(raw, most_completion_tokens=limits)
    except VoxsiteError as error:
        return Order(key=key, fault=error), None
    order = Order(
        key=key,
        model=catalogue.find(request.model),
        prompt_tokens=usage_meter.held_prompt_tokens(request.body),
        most_prompt_tokens=usage_meter.most_prompt_tokens(request.body, body_bytes=len(raw)),
        completion_tokens=request.completion_tokens,
        choice_count=request.choice_count,
        is_stream=request.is_stream,
        idempotency_key=idempotency_key,
        fingerprint=completions.fingerprint(raw) if idempotency_key else "",
    )
    return order, request


def _raw(body: dict[str, Any]) -> bytes:
    return json.dumps({"model": next(iter(catalogue.models())), **body}).encode()
