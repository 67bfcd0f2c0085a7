"""The language model that `voxsite` plugs in: what transcripts are summarised, questioned and rewritten with."""

from dataclasses import dataclass
from typing import Any, Protocol

from accounts.errors import NotConfigured, PaymentRequired
from accounts.gate.idempotency import OwnKey
from accounts.models import ApiKey, Organization
from billing.charge_tags import WorkTags


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a model and its price. is_cut: the answer ended at the limit of tokens."""

    text: str
    charged_micros: int
    tokens: int | None
    is_cut: bool = False


class Estimate(Protocol):
    """What a request would cost and hold now. `voxsite` gives the estimate of its language models as it is.

    completion_tokens: the most that the answer may have, for all choices together. cost_micros: the price of these
    tokens. max_cost_micros: the most that can be charged, if the estimate of the prompt is too low. held_micros: 0 if
    it would be refused. refusal: why balance and limits do not admit it; None if they do.
    """

    @property
    def model(self) -> str: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def cost_micros(self) -> int: ...
    @property
    def max_cost_micros(self) -> int: ...
    @property
    def held_micros(self) -> int: ...
    @property
    def refusal(self) -> PaymentRequired | None: ...


class Assistant(Protocol):
    """A language model, paid from the balance of the organization.

    body: a request in OpenAI's format. Without `model`, the site chooses one. idempotency_key: a reply is charged once
    for each. tags: of the charge. Both ways to ask raise errors of `accounts.errors`; nothing is charged then.
    """

    def is_ready(self) -> bool:
        """Tell whether a model is configured."""

    def has_model(self, name: str) -> bool:
        """Tell whether there is a model of this name."""

    def max_micros(self, body: dict[str, Any]) -> int:
        """Return the highest possible price of a request."""

    def estimate(self, organization: Organization, *, body: dict[str, Any], api_key: ApiKey | None) -> Estimate:
        """Return what a request would cost and hold now. Nothing is asked, held or charged.

        Raises the errors of a request that would be refused for another reason than money.
        """

    def complete(
        self, organization: Organization, *, body: dict[str, Any], idempotency_key: OwnKey, tags: WorkTags
    ) -> Reply:
        """Return the reply. It may take minutes, with a thread and without a database connection."""

    async def reply(
        self,
        organization: Organization,
        *,
        body: dict[str, Any],
        api_key: ApiKey | None,
        idempotency_key: OwnKey,
        tags: WorkTags,
    ) -> Reply:
        """Return the reply, without a thread meanwhile. api_key: the key whose monthly limit counts."""


class NoAssistant:
    """The assistant before `register` was called."""

    def is_ready(self) -> bool:
        return False

    def has_model(self, name: str) -> bool:
        return False

    def max_micros(self, body: dict[str, Any]) -> int:
        raise NotConfigured

    def estimate(self, organization: Organization, *, body: dict[str, Any], api_key: ApiKey | None) -> Estimate:
        raise NotConfigured

    def complete(
        self, organization: Organization, *, body: dict[str, Any], idempotency_key: OwnKey, tags: WorkTags
    ) -> Reply:
        raise NotConfigured

    async def reply(
        self,
        organization: Organization,
        *,
        body: dict[str, Any],
        api_key: ApiKey | None,
        idempotency_key: OwnKey,
        tags: WorkTags,
    ) -> Reply:
        raise NotConfigured


_registered: Assistant = NoAssistant()


def register(assistant: Assistant) -> None:
    """Set the assistant of this process."""
    global _registered  # noqa: PLW0603 - one for each process, set at its start
    _registered = assistant


def current() -> Assistant:
    """Return the assistant of this process."""
    return _registered
