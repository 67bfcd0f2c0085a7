"""What a completion is at each of its stages: ordered, admitted, ended. Values only."""

import uuid
from dataclasses import dataclass, field

from accounts.errors import VoxsiteError
from accounts.gate import idempotency, limits
from accounts.models import ApiKey, Organization
from apex.catalogue import Model
from apex.concurrency import Seat
from apex.usage_meter import Measure
from billing.models import Hold


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that is kept under its Idempotency-Key. text: empty if it was too large to be kept.

    charged_micros: what it cost, once that is known.
    """

    text: str
    is_stream: bool
    charged_micros: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for, before anybody looked at who asks.

    key: the credential as it was sent. fault: what is wrong with the request, told after who asks is known; else
    `model` and the tokens are set. completion_tokens: the limit for each of `choice_count` choices.
    """

    key: str
    fault: VoxsiteError | None = None
    model: Model | None = None
    prompt_tokens: int = 0
    # What an upstream is believed at most.
    most_prompt_tokens: int = 0
    completion_tokens: int = 0
    choice_count: int = 1
    is_stream: bool = False
    idempotency_key: str = ""
    fingerprint: str = ""
    # Taken by beginning; whoever gave the order leaves it.
    seat: Seat = field(default_factory=Seat, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Ticket:
    """An admitted completion. completion_tokens: the limit per choice that its hold pays for."""

    completion_id: uuid.UUID
    organization: Organization
    api_key: ApiKey | None
    hold: Hold
    model: Model
    completion_tokens: int
    claim: idempotency.Claim | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """What came of an order: a ticket, an answer kept from before or an error; and what is left of the rate limit."""

    ticket: Ticket | None = None
    kept: Kept | None = None
    error: VoxsiteError | None = None
    allowance: limits.Allowance | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a completion ended. measure: None when nothing was produced."""

    ticket: Ticket
    measure: Measure | None
    finish: str
    upstream: str = ""
    first_token_ms: int | None = None
    latency_ms: int | None = None
    kept: Kept | None = None
