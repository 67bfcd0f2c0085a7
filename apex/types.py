"""The values that describe a completion: the request for admission, the admitted completion, the result."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from accounts.errors import PaymentRequired, VoxsiteError
from accounts.gate import idempotency, limits
from accounts.gate.concurrency import ConcurrencySlot
from accounts.models import ApiKey, Organization
from apex.catalogue import Model
from apex.usage_meter import BilledUsage
from billing.charge_tags import WorkTags
from billing.models import Hold


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer that is stored under an Idempotency-Key. Its fields are the JSON in the database.

    text: the body of the answer; empty if it was too large to store.
    charged_micros: the price, set when the completion ends.
    """

    text: str
    is_stream: bool
    charged_micros: int = 0


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """What admission needs to know about a chat request.

    key: the API key as the client sent it; not yet authenticated.
    fault: the error in the request, reported only to an authenticated caller. Without it, `model` and tokens are set.
    prompt_tokens: estimate, for the hold.
    max_prompt_tokens: upper limit; an upstream that states more is not believed.
    completion_tokens: the limit for each of the `choice_count` choices.
    fingerprint: identifies equal requests under one Idempotency-Key.
    tags: of the charge, as `charge_tags.record` takes them.
    """

    key: str
    fault: VoxsiteError | None = None
    model: Model | None = None
    prompt_tokens: int = 0
    max_prompt_tokens: int = 0
    completion_tokens: int = 0
    choice_count: int = 1
    is_stream: bool = False
    idempotency_key: str = ""
    fingerprint: str = ""
    tags: Mapping[str, str] | WorkTags = field(default_factory=dict)
    # Acquired during admission; released by the Relay.
    slot: ConcurrencySlot = field(default_factory=ConcurrencySlot, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AdmittedCompletion:
    """A completion that has a hold and a row in the database.

    completion_tokens: the limit for each choice that the hold pays for.
    is_stream: whether the answer is a stream.
    claim: the claim on the Idempotency-Key, if the request has one.
    tags: of its charge.
    """

    completion_id: uuid.UUID
    organization: Organization
    api_key: ApiKey | None
    hold: Hold
    model: Model
    completion_tokens: int
    is_stream: bool = False
    claim: idempotency.Claim | None = None
    tags: Mapping[str, str] | WorkTags = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to an admission request: one of `completion`, `stored_answer` and `error` is set.

    None of them is set after the first checks (key and rate limit) of a request that has passed so far.

    stored_answer: from an earlier request with the same Idempotency-Key.
    allowance: what is left of the rate limit; None if the request did not count against one.
    """

    completion: AdmittedCompletion | None = None
    stored_answer: StoredAnswer | None = None
    error: VoxsiteError | None = None
    allowance: limits.Allowance | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a request would cost and hold if it were admitted now.

    prompt_tokens: estimate, by which money is held.
    completion_tokens: the most that the answer may have, for all choices together. Fewer than the request allows if
        the balance or a limit pays for fewer.
    cost_micros: the price of both. max_cost_micros: the most that can be charged, if the estimate is too low.
    held_micros: what would be held; 0 if the request would be refused.
    refusal: the refusal; None if balance and limits admit the request.
    """

    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_micros: int
    max_cost_micros: int
    held_micros: int
    refusal: PaymentRequired | None


@dataclass(frozen=True, slots=True)
class CompletionResult:
    """How a completion ended.

    billed: None if nothing was produced.
    finish: the model's finish reason or our own word for the end (see `Completion.finish`).
    stored_answer: the answer to store under the Idempotency-Key, if the request has one and its answer is complete.
    """

    completion: AdmittedCompletion
    billed: BilledUsage | None
    finish: str
    upstream: str = ""
    first_token_ms: int | None = None
    latency_ms: int | None = None
    stored_answer: StoredAnswer | None = None
