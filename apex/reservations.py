"""What is held for a completion before its answer is known, and its charge afterwards. `usage_meter` has the price."""

import uuid
from dataclasses import dataclass

from apex.models import reference_of
from apex.types import AdmissionRequest, CompletionResult
from billing import ledger

# A request is refused if the balance does not pay for this many tokens of an answer, or for all if it asks for fewer.
MIN_COMPLETION_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Reservation:
    """The hold that a request needs: at least min_micros, at most max_micros."""

    completion_id: uuid.UUID
    min_micros: int
    max_micros: int

    @property
    def reference(self) -> str:
        return reference_of(self.completion_id)

    def hold_request(self) -> ledger.HoldRequest:
        return ledger.HoldRequest(self.min_micros, self.max_micros, self.reference)


def reservation_for(request: AdmissionRequest) -> Reservation:
    assert request.model is not None, "a request without a fault has a model"
    rates = request.model.rates

    def price(completion_tokens: int) -> int:
        return rates.price_micros(
            prompt_tokens=request.prompt_tokens, completion_tokens=completion_tokens * request.choice_count
        )

    return Reservation(
        completion_id=uuid.uuid4(),
        min_micros=price(min(MIN_COMPLETION_TOKENS, request.completion_tokens)),
        max_micros=price(request.completion_tokens),
    )


def paid_completion_tokens(request: AdmissionRequest, reservation: Reservation, held_micros: int) -> int:
    """Return the limit of tokens, for each choice, that a hold pays for."""
    assert request.model is not None, "a request without a fault has a model"
    if held_micros >= reservation.max_micros:
        return request.completion_tokens
    paid_for = request.model.rates.completion_tokens_for(held_micros, prompt_tokens=request.prompt_tokens)
    # At least one token, because rounding can lose half a micro-dollar.
    return max(1, min(request.completion_tokens, paid_for // request.choice_count))


def charge_of(result: CompletionResult) -> ledger.Charge:
    completion, billed = result.completion, result.billed
    if billed is None:
        return ledger.Charge(completion.hold, 0)
    price_micros = completion.model.rates.price_micros(
        prompt_tokens=billed.usage.prompt_tokens,
        completion_tokens=billed.usage.completion_tokens,
        cached_prompt_tokens=billed.usage.cached_prompt_tokens,
    )
    details = {
        "model": completion.model.name,
        "prompt_tokens": billed.usage.prompt_tokens,
        "cached_prompt_tokens": billed.usage.cached_prompt_tokens,
        "completion_tokens": billed.usage.completion_tokens,
        "counted_by": billed.source.value,
        "finish": result.finish[:40],
        "latency_ms": result.latency_ms,
    }
    return ledger.Charge(completion.hold, price_micros, f"Chat, {completion.model.name}", details)
