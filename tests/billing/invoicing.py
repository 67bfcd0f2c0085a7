"""Invoices of an automatic top-up of $200 that follows a checkout of $5: time, failures and what must hold."""

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from billing import (
    invoices,
    reconciliation,
)
from billing.models.payments import TopUp, UnmatchedEvent
from tests.billing.conftest import NOW, money_of
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting


def later(times: int = 1) -> datetime:
    return NOW + times * invoices.NEXT_TRY_AFTER


def own_invoices(sandbox: StripeSandbox, topup: TopUp) -> list[dict[str, Any]]:
    return [each for each in sandbox.all("invoice") if each["metadata"] == {"topup_id": str(topup.pk)}]


def is_settled(sandbox: StripeSandbox, topup: TopUp) -> None:
    """Check that one invoice exists, is paid with the top-up's one charge and linked, and that no money moved."""
    topup.refresh_from_db()
    [invoice] = own_invoices(sandbox, topup)
    assert (invoice["status"], invoice["total"], invoice["amount_paid"], invoice["amount_remaining"]) == (
        "paid",
        20_000,
        20_000,
        0,
    )
    paid_with = [each["payment"] for each in invoice["payments"]["data"] if each["status"] == "paid"]
    assert paid_with == [{"payment_intent": topup.payment_intent_id, "type": "payment_intent"}]
    assert [(line["amount"], line["description"]) for line in invoice["lines"]["data"]] == [(20_000, "Voxsite credit")]
    assert (topup.invoice_id, topup.invoice_due_at) == (invoice["id"], None)
    assert (topup.invoice_url, topup.invoice_pdf_url) == (invoice["hosted_invoice_url"], invoice["invoice_pdf"])
    assert topup.invoice_url
    is_charged_once(sandbox, topup)


def is_charged_once(sandbox: StripeSandbox, topup: TopUp) -> None:
    assert sum(charge["status"] == "succeeded" for charge in sandbox.all("charge")) == 2
    assert money_of(topup.organization) == (210_000_000, 0)
    assert list(reconciliation.faults()) == []


def is_given_up(sandbox: StripeSandbox, topup: TopUp, reason: str) -> None:
    """Check that one unmatched event was recorded, the payer lost nothing, and nobody is asked for money."""
    for _ in range(2):
        invoices.make_due(now=later(2))
    topup.refresh_from_db()
    assert topup.invoice_due_at is None
    event = UnmatchedEvent.objects.get()
    assert (event.subject, event.reason, event.topup) == ("invoice", "no_invoice", topup)
    assert reason in event.explanation
    assert not [each for each in sandbox.all("invoice") if each["status"] == "open"]
    assert money_of(topup.organization) == (210_000_000, 0)


class Killed(BaseException):
    """The process dies."""


def failing_at(number: int, error: BaseException, *, is_done: bool, times: int = 1) -> AbstractContextManager[None]:
    """Raise an error at the request with this number, before or after Stripe has performed it."""
    count = 0

    def fail(perform: Perform, _: Request) -> Response:
        nonlocal count
        count += 1
        if not number <= count < number + times:
            return perform()
        if is_done:
            perform()
        raise error

    return intercepting(fail)
