"""Adapter: lets `transcription.answers` use the language models of Apex. Only `voxsite` may import both apps."""

from typing import Any

from accounts.models import Organization
from transcription.answers import Reply


class ApexAssistant:
    """Answers questions about transcripts with the first model of Apex's catalogue.

    Apex is imported inside the methods, so that workers, the clock and commands start without the chat service.
    """

    def is_ready(self) -> bool:
        from apex import service

        return service.is_configured()

    def max_micros(self, body: dict[str, Any]) -> int:
        from apex import service

        return service.max_price_micros(body)

    def complete(self, organization: Organization, *, body: dict[str, Any], idempotency_key: str) -> Reply:
        from apex import service

        done = service.complete_and_wait(organization, body=body, idempotency_key=idempotency_key)
        usage = done.usage
        return Reply(
            text=done.text,
            charged_micros=done.charged_micros,
            is_cut=done.is_cut,
            tokens=usage.prompt_tokens + usage.completion_tokens if usage is not None else None,
        )
