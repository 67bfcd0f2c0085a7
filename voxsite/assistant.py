"""Gives transcription the language models of Apex, which it must not know."""

from typing import Any

from accounts.models import Organization
from transcription.answers import Reply


class ApexAssistant:
    """Answers about transcripts by the first model of Apex's catalogue.

    Apex is imported when it is needed: workers, the clock and commands start without its HTTP client.
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
