"""Adapter: lets `transcription` use the language models of Apex. Only `voxsite` may import both apps."""

from typing import TYPE_CHECKING, Any

from accounts.gate.idempotency import OwnKey
from accounts.models import ApiKey, Organization
from billing.charge_tags import WorkTags
from transcription.assistant import Estimate, Reply

if TYPE_CHECKING:
    from apex.service import CompletedChat


class ApexAssistant:
    """Answers with the first model of Apex's catalogue, or with the one that the request names.

    Apex is imported inside the methods, so that workers, the clock and commands start without the chat service.
    """

    def is_ready(self) -> bool:
        from apex import service

        return service.is_configured()

    def has_model(self, name: str) -> bool:
        from apex import catalogue

        return name in catalogue.models()

    def max_micros(self, body: dict[str, Any]) -> int:
        from apex import service

        return service.max_price_micros(body)

    def estimate(self, organization: Organization, *, body: dict[str, Any], api_key: ApiKey | None) -> Estimate:
        from apex import service

        return service.estimate(organization, body=body, api_key=api_key)

    def complete(
        self, organization: Organization, *, body: dict[str, Any], idempotency_key: OwnKey, tags: WorkTags
    ) -> Reply:
        from apex import service

        return _reply(service.complete_and_wait(organization, body=body, idempotency_key=idempotency_key, tags=tags))

    async def reply(
        self,
        organization: Organization,
        *,
        body: dict[str, Any],
        api_key: ApiKey | None,
        idempotency_key: OwnKey,
        tags: WorkTags,
    ) -> Reply:
        from apex import service

        done = await service.complete(
            organization, body=body, api_key=api_key, idempotency_key=idempotency_key, tags=tags
        )
        return _reply(done)


def _reply(done: "CompletedChat") -> Reply:
    usage = done.usage
    return Reply(
        text=done.text,
        charged_micros=done.charged_micros,
        is_cut=done.is_cut,
        tokens=usage.prompt_tokens + usage.completion_tokens if usage is not None else None,
    )
