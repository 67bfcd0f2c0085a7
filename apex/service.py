"""The chat service: `relay` for programs with an API key; `relay_for`, `complete` and others for the site itself.

Each completion is a `Relay`, which runs to its end even if no one waits for it.
"""

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings

from accounts.batcher import Batcher
from accounts.errors import VoxsiteError
from accounts.gate.idempotency import OwnKey
from accounts.gate.limits import Allowance
from accounts.models import ApiKey, Organization
from apex import catalogue, completions, shared_batches, upstream, usage_meter, wire
from apex.relay import Relay
from apex.shared_batches import Deferred
from apex.types import Admission, AdmissionRequest, Estimate
from billing import charge_tags, ledger
from billing.charge_tags import WorkTags

# Larger requests are parsed in a thread: parsing megabytes on the event loop would stop every stream of the process.
MAX_PARSED_ON_LOOP_BYTES = 64 * 1024

_admissions: Batcher[AdmissionRequest, Admission] = Batcher(completions.begin)
# Where the database can do it, one batch is for all organizations, and only what it defers goes by key.
_shared_admissions: Batcher[AdmissionRequest, Admission | Deferred] = Batcher(shared_batches.begin)
_deferred_admissions: Batcher[tuple[AdmissionRequest, Admission], Admission] = Batcher(completions.begin_counted)
_rate_checks: Batcher[str, Admission] = Batcher(completions.check_rate_limit)


@dataclass(frozen=True, slots=True)
class CompletedChat:
    """A completion that has ended.

    answer: OpenAI's completion object.
    charged_micros: the price in micro-dollars.
    """

    answer: dict[str, Any]
    charged_micros: int

    @property
    def usage(self) -> usage_meter.Usage | None:
        """The tokens that were used; None if the upstream did not state them."""
        return usage_meter.read_usage(self.answer.get("usage"))

    @property
    def text(self) -> str:
        """The text of the answer, without what no page and no database accepts: null characters, lone surrogates."""
        content = str(self.answer["choices"][0].get("message", {}).get("content") or "")
        return content.replace("\0", "").encode("utf-8", "replace").decode()

    @property
    def is_cut(self) -> bool:
        """Whether the answer ends because it reached the limit of its tokens."""
        return bool(self.answer["choices"][0].get("finish_reason") == "length")


async def relay(
    raw: bytes, *, key: str, request_id: str, idempotency_key: str = "", fault: VoxsiteError | None = None
) -> Relay:
    """Start to relay the request of a program.

    raw: the body as it was received.
    key: the API key as it was received.
    fault: an error that was found before the body was parsed. Only an authenticated caller is told.
    """
    chat_request: wire.ChatRequest | None
    if fault is not None:
        admission_request, chat_request = AdmissionRequest(key=key, fault=fault), None
    elif len(raw) > MAX_PARSED_ON_LOOP_BYTES:
        admission_request, chat_request = await asyncio.to_thread(_read, raw, key=key, idempotency_key=idempotency_key)
    else:
        admission_request, chat_request = _read(raw, key=key, idempotency_key=idempotency_key)
    return Relay(
        admission_request,
        chat_request,
        begin=lambda: _admit(admission_request),
        request_id=request_id,
    )


def is_configured() -> bool:
    """Return whether at least one upstream is configured."""
    return bool(settings.APEX_UPSTREAMS)


def relay_for(
    organization: Organization,
    *,
    body: dict[str, Any],
    api_key: ApiKey | None = None,
    idempotency_key: OwnKey | None = None,
    tags: WorkTags | None = None,
) -> Relay:
    """Start to relay a request that the site itself makes for an organization, without rate limits.

    body: OpenAI's request. Without `model`, the first model of the catalogue is used.
    api_key: the key whose monthly limit counts.
    idempotency_key: for a day, a request with the same key gets the same answer and no second charge.
    tags: of the charge.
    """
    admission_request, chat_request = _read(_raw(body), key="", idempotency_key=idempotency_key or "")
    if tags is not None and tags.tags:
        admission_request = replace(admission_request, tags=tags)
    admissions: Batcher[AdmissionRequest, Admission] = Batcher(
        lambda requests: [completions.begin_for(organization, request=each, api_key=api_key) for each in requests]
    )
    return Relay(
        admission_request,
        chat_request,
        begin=lambda: admissions.submit(admission_request, group=organization.pk),
    )


async def complete(
    organization: Organization,
    *,
    body: dict[str, Any],
    api_key: ApiKey | None = None,
    idempotency_key: OwnKey | None = None,
    tags: WorkTags | None = None,
) -> CompletedChat:
    """Return the answer to a request that the site itself makes, after it was charged.

    idempotency_key: for a day, a request with the same key gets the same answer and no second charge.
    Raises accounts.errors: PaymentRequired, BadRequest, NotConfigured, UpstreamFailed, RateLimited; Conflict while the
    first request with the key still runs.
    """
    one = relay_for(
        organization, body={**body, "stream": False}, api_key=api_key, idempotency_key=idempotency_key, tags=tags
    )
    head = await one.head()
    charged_micros = await one.charged_micros()
    if head.error is not None:
        raise head.error
    assert head.answer is not None, "it asked for no stream"
    return CompletedChat(answer=json.loads(head.answer), charged_micros=charged_micros)


def complete_and_wait(
    organization: Organization,
    *,
    body: dict[str, Any],
    api_key: ApiKey | None = None,
    idempotency_key: OwnKey | None = None,
    tags: WorkTags | None = None,
) -> CompletedChat:
    """Do what `complete` does, from synchronous code.

    It may take minutes: release the database connection before you call it.
    """

    async def complete_and_disconnect() -> CompletedChat:
        try:
            return await complete(organization, body=body, api_key=api_key, idempotency_key=idempotency_key, tags=tags)
        finally:
            await upstream.close()

    # Not async_to_sync. Below a synchronous view it uses the server's event loop: `upstream.close` would break every
    # stream of the process, and a client that disconnects would cancel the work.
    return asyncio.run(complete_and_disconnect())


async def check_rate_limit(*, key: str) -> Allowance:
    """Charge the rate limit for a GET request and return what is left.

    Raises the errors of authentication, and RateLimited.
    """
    check = await _rate_checks.submit(key, group=key)
    if check.error is not None:
        raise check.error
    assert check.allowance is not None, "without an error there is an allowance"
    return check.allowance


def max_price_micros(body: dict[str, Any]) -> int:
    """Return the most that a request can cost, with an estimate of its prompt's tokens. Raises BadRequest."""
    request, _ = _read(_raw(body), key="")
    if request.fault is not None:
        raise request.fault
    assert request.model is not None, "a request without a fault has a model"
    return request.model.rates.price_micros(
        prompt_tokens=request.prompt_tokens, completion_tokens=request.completion_tokens * request.choice_count
    )


def estimate(organization: Organization, *, body: dict[str, Any], api_key: ApiKey | None) -> Estimate:
    """Return what a request would cost and hold now. It is not sent, and counts against no rate limit.

    body: OpenAI's request. Without `model`, the first model of the catalogue is used.
    Raises BadRequest for a request that would be refused, and NoUpstream.
    """
    request, _ = _read(_raw(body), key="")
    return completions.estimate(request, organization=organization, api_key=api_key)


async def _admit(request: AdmissionRequest) -> Admission:
    if not shared_batches.is_available():
        return await _admissions.submit(request, group=request.key)
    admission = await _shared_admissions.submit(request, group="all")
    if isinstance(admission, Deferred):
        deferred = admission
        admission = await _deferred_admissions.submit((request, deferred.check), group=request.key)
        # The limit of a token says nothing of the organization's other requests.
        if isinstance(admission.error, ledger.SpendLimitReached) and admission.error.data["limit"] != "token":
            shared_batches.go_alone(deferred.organization_id)
    return admission


def _read(raw: bytes, *, key: str, idempotency_key: str = "") -> tuple[AdmissionRequest, wire.ChatRequest | None]:
    """Parse a request.

    An error in the request becomes the fault of the admission request, because only authenticated callers are told.
    """
    limits = {name: model.max_completion_tokens for name, model in catalogue.models().items()}
    try:
        chat_request = wire.read_request(raw, max_completion_tokens=limits)
    except VoxsiteError as error:
        return AdmissionRequest(key=key, fault=error), None
    admission_request = AdmissionRequest(
        key=key,
        model=catalogue.find(chat_request.model),
        prompt_tokens=usage_meter.estimate_prompt_tokens(chat_request.body),
        max_prompt_tokens=usage_meter.max_prompt_tokens(chat_request.body, body_bytes=len(raw)),
        completion_tokens=chat_request.completion_tokens,
        choice_count=chat_request.choice_count,
        is_stream=chat_request.is_stream,
        idempotency_key=idempotency_key,
        fingerprint=completions.fingerprint(raw) if idempotency_key else "",
        tags=charge_tags.tags_of(chat_request.body.get("metadata")),
    )
    return admission_request, chat_request


def _raw(body: dict[str, Any]) -> bytes:
    return json.dumps({"model": next(iter(catalogue.models())), **body}).encode()
