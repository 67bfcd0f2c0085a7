"""Unmatched events: stored once, with a reason, resolved only for that reason, and opened again for new facts."""

from datetime import date, timedelta

import pytest
from django.utils import timezone

from accounts.models import Organization, User
from billing import unmatched_events
from billing.models.payments import SENTENCE_LENGTH, UnmatchedEvent
from tests.billing.stripe_objects import make_topup


def record(stripe_id: str = "cs_1", reason: str = "wrong_amount", **changes: object) -> UnmatchedEvent:
    fields = {"subject": "checkout", "explanation": "Paid 1 cents, asked for 20000.", **changes}
    return unmatched_events.record(stripe_id=stripe_id, reason=reason, **fields)


def test_event_that_is_reported_again_is_one_row_and_one_alarm(db: None, caplog: pytest.LogCaptureFixture) -> None:
    first = record(details={"amount_cents": 1})
    again = record(details={"amount_cents": 2}, explanation="Something else.")
    assert (again.pk, again.explanation, again.details) == (first.pk, first.explanation, {"amount_cents": 1})
    assert alarms(caplog) == 1


def test_another_reason_is_another_row(db: None) -> None:
    record()
    record(reason="wrong_currency")
    record("cs_2")
    assert UnmatchedEvent.objects.count() == 3


def test_explanation_that_is_too_long_is_cut_rather_than_lost(db: None) -> None:
    """The text names values from Stripe. If the row could not be stored, Stripe would send the event for days."""
    assert len(record(explanation="x" * 10_000).explanation) == SENTENCE_LENGTH


def test_resolving_ends_one_reason_of_one_object(db: None) -> None:
    record()
    for stripe_id, reason in (("cs_1", "wrong_currency"), ("cs_2", "wrong_amount"), ("", "")):
        unmatched_events.resolve(stripe_id=stripe_id, reason=reason)
    assert UnmatchedEvent.objects.get().resolved_at is None
    unmatched_events.resolve(stripe_id="cs_1", reason="wrong_amount")
    assert UnmatchedEvent.objects.get().resolved_at is not None


def test_resolving_again_keeps_the_first_time(db: None) -> None:
    resolved_at = timezone.now() - timedelta(days=1)
    UnmatchedEvent.objects.filter(pk=record().pk).update(resolved_at=resolved_at)
    unmatched_events.resolve(stripe_id="cs_1", reason="wrong_amount")
    assert UnmatchedEvent.objects.get().resolved_at == resolved_at


def alarms(caplog: pytest.LogCaptureFixture) -> int:
    return len([line for line in caplog.records if "Unmatched checkout cs_1" in line.getMessage()])


def resolve_as_operator() -> User:
    operator = User.objects.create_superuser("operator@example.com")
    UnmatchedEvent.objects.update(resolved_at=timezone.now(), resolved_by=operator)
    return operator


def test_event_that_ended_by_itself_and_happens_again_is_open_again(db: None, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise no operator would see that Stripe refuses again to forget a card."""
    first = record()
    unmatched_events.resolve(stripe_id="cs_1", reason="wrong_amount")
    again = record()
    assert (again.pk, again.resolved_at) == (first.pk, None)
    assert UnmatchedEvent.objects.get().resolved_at is None
    assert alarms(caplog) == 2


def test_report_that_an_operator_resolved_stays_resolved_however_often_it_comes(
    db: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Stripe delivers events twice, and the clock asks again: the operator has decided about these very figures."""
    record(details={"amount_cents": 1})
    operator = resolve_as_operator()
    for _ in range(3):
        record(details={"amount_cents": 1})
    assert UnmatchedEvent.objects.get().resolved_by == operator
    assert alarms(caplog) == 1


@pytest.mark.parametrize(
    "change", [{"details": {"amount_cents": 2}}, {"explanation": "Paid 2 cents, asked for 20000."}]
)
def test_other_figures_than_an_operator_resolved_are_open_again(
    db: None, caplog: pytest.LogCaptureFixture, change: dict[str, object]
) -> None:
    record(details={"amount_cents": 1})
    resolve_as_operator()
    again = record(**{"details": {"amount_cents": 1}, **change})
    stored = UnmatchedEvent.objects.get()
    assert (stored.resolved_at, stored.resolved_by) == (None, None)
    for name, value in change.items():
        assert getattr(again, name) == getattr(stored, name) == value
    assert alarms(caplog) == 2


def test_explanation_that_was_cut_is_still_the_one_that_the_operator_resolved(db: None) -> None:
    record(explanation="x" * 10_000)
    resolve_as_operator()
    record(explanation="x" * 10_000)
    assert UnmatchedEvent.objects.get().resolved_at is not None


def test_figures_are_compared_as_they_are_stored(db: None) -> None:
    """JSON knows no tuples and no dates: what was given is compared with what comes out of the database."""
    details = {"amounts_cents": (1, 2), "day": date(2026, 11, 20)}
    record(details=details)
    resolve_as_operator()
    record(details=details)
    assert UnmatchedEvent.objects.get().resolved_at is not None


def about(payment_intent_id: str) -> bool:
    return unmatched_events.record_about_unmatched_payment(
        payment_intent_id=payment_intent_id, subject="refund", stripe_id="re_1"
    )


@pytest.mark.parametrize("payment_intent_id", ["", "pi_2", "pi_", "pi_1 "])
def test_refund_of_another_payment_is_not_called_unmatched(db: None, payment_intent_id: str) -> None:
    """Otherwise a refund whose top-up is not credited yet would be lost: Stripe would not send it again."""
    record(details={"payment_intent": "pi_1"})
    # A payment without a PaymentIntent must not match refunds without one.
    record("cs_2", details={"payment_intent": ""})
    assert not about(payment_intent_id)
    assert UnmatchedEvent.objects.count() == 2


def test_refund_of_an_unmatched_payment_is_stored_once(db: None) -> None:
    record(details={"payment_intent": "pi_1"})
    assert about("pi_1")
    assert about("pi_1")
    event = UnmatchedEvent.objects.get(subject="refund")
    assert (event.stripe_id, event.topup) == ("re_1", None)
    assert "pi_1" in event.explanation


def test_refund_of_a_payment_that_an_operator_resolved_is_unmatched_still(db: None) -> None:
    """The operator refunds it in Stripe's dashboard: nothing was credited, so nothing may be taken back."""
    record(details={"payment_intent": "pi_1"})
    UnmatchedEvent.objects.update(resolved_at=timezone.now())
    assert about("pi_1")


def test_excess_return_names_its_topup(acme: Organization) -> None:
    topup = make_topup(acme)
    for _ in range(2):
        event = unmatched_events.record_excess_return(topup, subject="dispute", stripe_id="dp_1")
    assert (event.topup, event.reason) == (topup, "returned_more_than_paid")
    assert UnmatchedEvent.objects.count() == 1
