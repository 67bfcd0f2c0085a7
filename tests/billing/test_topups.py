"""Top-ups: starting them at Stripe, and the effect of Stripe's reports in any order and by any route."""

from typing import Any

import pytest

from accounts.models import Organization
from billing import stripe_mapping, topups
from billing.models import Entry, EntryKind
from billing.models.payments import SavedCard, TopUp, TopUpState, UnmatchedEvent
from tests.billing.conftest import money_of
from tests.billing.stripe_objects import charge_of, deliver, event_of, intent_of, make_topup, session_of, tell


def fulfil(topup: TopUp, **changes: Any) -> TopUp | None:
    return topups.fulfil(stripe_mapping.payment_of_checkout(session_of(topup, **changes)))


def state_of(topup: TopUp) -> str:
    return TopUp.objects.get(pk=topup.pk).state


# --- Paid ------------------------------------------------------------------------------------------------------------


def test_payment_and_bonus_are_two_ledger_entries(acme: Organization) -> None:
    topup = make_topup(acme, 20_000)
    fulfil(topup)
    assert money_of(acme) == (210_000_000, 0)
    assert list(Entry.objects.of(acme).order_by("id").values_list("kind", "amount_micros", "reference")) == [
        (EntryKind.PAYMENT, 200_000_000, f"topup:{topup.pk}"),
        (EntryKind.BONUS, 10_000_000, f"topup:{topup.pk}"),
    ]
    topup.refresh_from_db()
    assert (topup.state, topup.payment_intent_id, topup.failure) == (TopUpState.PAID, f"pi_{topup.pk.hex}", "")
    assert topup.paid_at is not None


def test_small_payment_brings_no_bonus(acme: Organization) -> None:
    fulfil(make_topup(acme, 19_999))
    assert money_of(acme) == (199_990_000, 0)
    assert Entry.objects.of(acme).count() == 1


def test_bonus_is_the_one_that_was_promised(acme: Organization) -> None:
    topup = make_topup(acme, 20_000)
    TopUp.objects.filter(pk=topup.pk).update(bonus_cents=7)
    fulfil(topup)
    assert money_of(acme) == (200_070_000, 0)


def test_told_again_in_other_words_it_is_credited_once(acme: Organization) -> None:
    topup = make_topup(acme)
    for _ in range(2):
        fulfil(topup)
        topups.fulfil(stripe_mapping.payment_of_intent(intent_of(topup)))
    assert money_of(acme) == (210_000_000, 0)
    assert not UnmatchedEvent.objects.exists()


def test_payment_that_nobody_asked_for_is_credited_if_its_row_stands(acme: Organization) -> None:
    """The process died between Stripe's answer and storing the session's id."""
    topup = make_topup(acme, state=TopUpState.STARTING, checkout_session_id="")
    fulfil(topup)
    topup.refresh_from_db()
    assert (topup.state, topup.checkout_session_id) == (TopUpState.PAID, "cs_test_late")


@pytest.mark.parametrize("state", [TopUpState.FAILED, TopUpState.EXPIRED, TopUpState.PROCESSING])
def test_money_that_comes_late_is_credited_all_the_same(acme: Organization, state: TopUpState) -> None:
    topup = make_topup(acme, state=state, failure="No.")
    fulfil(topup)
    assert money_of(acme) == (210_000_000, 0)
    topup.refresh_from_db()
    assert (topup.state, topup.failure) == (TopUpState.PAID, "")


# --- Not paid --------------------------------------------------------------------------------------------------------


def test_unpaid_checkout_credits_nothing_and_is_on_its_way(acme: Organization) -> None:
    topup = make_topup(acme)
    fulfil(topup, payment_status="unpaid")
    assert state_of(topup) == TopUpState.PROCESSING
    assert not Entry.objects.exists()


def test_open_checkout_changes_nothing(acme: Organization) -> None:
    topup = make_topup(acme)
    fulfil(topup, payment_status="unpaid", status="open")
    assert state_of(topup) == TopUpState.PENDING


def test_slow_bank_says_yes(acme: Organization) -> None:
    topup = make_topup(acme)
    unpaid = session_of(topup, payment_status="unpaid")
    assert tell("checkout.session.completed", unpaid) == 200
    assert not Entry.objects.exists()
    assert tell("checkout.session.async_payment_succeeded", session_of(topup)) == 200
    assert money_of(acme) == (210_000_000, 0)


def test_slow_bank_says_no(acme: Organization) -> None:
    topup = make_topup(acme)
    unpaid = session_of(topup, payment_status="unpaid")
    assert tell("checkout.session.completed", unpaid) == 200
    assert tell("checkout.session.async_payment_failed", unpaid) == 200
    topup.refresh_from_db()
    assert (topup.state, topup.failure) == (TopUpState.FAILED, topups.BANK_DECLINED)
    # The first event arrives again, late.
    assert tell("checkout.session.completed", unpaid) == 200
    assert state_of(topup) == TopUpState.FAILED
    assert not Entry.objects.exists()


def test_checkout_that_nobody_paid_ends(acme: Organization) -> None:
    topup = make_topup(acme)
    assert tell("checkout.session.expired", session_of(topup, status="expired", payment_status="unpaid")) == 200
    topup.refresh_from_db()
    assert (topup.state, topup.failure) == (TopUpState.EXPIRED, topups.NOT_PAID)


@pytest.mark.parametrize("kind", ["checkout.session.expired", "checkout.session.async_payment_failed"])
def test_late_bad_news_do_not_undo_a_payment(acme: Organization, kind: str) -> None:
    topup = make_topup(acme)
    fulfil(topup)
    assert tell(kind, session_of(topup, payment_status="unpaid")) == 200
    assert state_of(topup) == TopUpState.PAID


# --- What does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount_total": 20_001}, "wrong_amount"),
        ({"amount_total": 19_999}, "wrong_amount"),
        ({"amount_total": 0, "payment_status": "no_payment_required"}, "wrong_amount"),
        ({"currency": "eur"}, "wrong_currency"),
        ({"currency": "jpy", "amount_total": 1}, "wrong_currency"),
        ({"id": "cs_test_other"}, "other_session"),
    ],
)
def test_wrong_payment_is_unmatched_and_credits_nothing(
    acme: Organization, changes: dict[str, Any], reason: str
) -> None:
    topup = make_topup(acme)
    event = event_of("checkout.session.completed", session_of(topup, **changes))
    # Stripe need not send it again: an operator must look.
    assert deliver(event) == 200
    assert tell("checkout.session.completed", session_of(topup, **changes)) == 200
    assert not Entry.objects.exists()
    unmatched = UnmatchedEvent.objects.get()
    assert (unmatched.reason, unmatched.topup, unmatched.resolved_at) == (reason, topup, None)
    assert state_of(topup) == TopUpState.UNDER_REVIEW


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {}, "client_reference_id": None},
        {"metadata": {"topup_id": "not a row's id"}},
        {"metadata": {"topup_id": "9f4c2f54-6a1e-4a8e-9f7e-0d4f5b1c7a11"}},
    ],
)
def test_unknown_session_is_kept_for_an_operator(acme: Organization, changes: dict[str, Any]) -> None:
    topup = make_topup(acme)
    assert tell("checkout.session.completed", session_of(topup, **changes)) == 200
    assert not Entry.objects.exists()
    assert UnmatchedEvent.objects.get().reason == "unknown_topup"
    assert state_of(topup) == TopUpState.PENDING


def test_payment_that_names_no_topup_is_somebody_elses_business(acme: Organization) -> None:
    assert tell("payment_intent.succeeded", intent_of(make_topup(acme), metadata={})) == 200
    assert not UnmatchedEvent.objects.exists()
    assert not Entry.objects.exists()


def test_second_payment_for_one_topup_is_kept_for_an_operator(acme: Organization) -> None:
    topup = make_topup(acme)
    fulfil(topup)
    fulfil(topup, payment_intent="pi_second")
    assert money_of(acme) == (210_000_000, 0)
    assert UnmatchedEvent.objects.get().reason == "other_payment"
    assert state_of(topup) == TopUpState.PAID


@pytest.mark.parametrize(
    "signed", [{"secret": "whsec_wrong"}, {"timestamp": 1_600_000_000}], ids=["wrong secret", "old"]
)
def test_webhook_that_is_not_stripes_is_refused(acme: Organization, signed: dict[str, Any]) -> None:
    topup = make_topup(acme)
    assert deliver(event_of("checkout.session.completed", session_of(topup)), **signed) == 400
    assert not Entry.objects.exists()
    assert state_of(topup) == TopUpState.PENDING


# --- Receipts and cards ----------------------------------------------------------------------------------------------


def test_receipt_and_invoice_are_kept_in_whichever_order_they_come(acme: Organization) -> None:
    topup = make_topup(acme)
    invoice = {
        "id": "in_1",
        "metadata": {"topup_id": str(topup.pk)},
        "status": "paid",
        "hosted_invoice_url": "https://invoice.stripe.com/1",
        "invoice_pdf": "https://invoice.stripe.com/1/pdf",
    }
    assert tell("charge.succeeded", charge_of(topup)) == 200
    assert tell("checkout.session.completed", session_of(topup)) == 200
    assert tell("invoice.paid", invoice) == 200
    topup.refresh_from_db()
    assert (topup.receipt_url, topup.invoice_url, topup.invoice_pdf_url) == (
        "https://pay.stripe.com/receipts/1",
        "https://invoice.stripe.com/1",
        "https://invoice.stripe.com/1/pdf",
    )


def test_page_of_an_open_invoice_is_never_shown(acme: Organization) -> None:
    """On that page one could pay a second time."""
    topup = make_topup(acme)
    invoice = {
        "id": "in_1",
        "metadata": {"topup_id": str(topup.pk)},
        "status": "open",
        "hosted_invoice_url": "https://invoice.stripe.com/1",
        "invoice_pdf": "https://invoice.stripe.com/1/pdf",
    }
    assert tell("invoice.finalized", invoice) == 200
    topup.refresh_from_db()
    assert (topup.invoice_url, topup.invoice_pdf_url) == ("", "")


def test_card_is_kept_only_if_the_payer_asked(acme: Organization) -> None:
    assert tell("charge.succeeded", charge_of(make_topup(acme))) == 200
    assert not SavedCard.objects.exists()
    assert tell("charge.succeeded", charge_of(make_topup(acme, save_card=True))) == 200
    card = SavedCard.objects.get()
    assert (card.organization, card.payment_method_id, card.brand, card.last4) == (acme, "pm_1", "visa", "4242")


def test_card_that_was_removed_does_not_come_back(acme: Organization) -> None:
    topup = make_topup(acme, save_card=True)
    tell("charge.succeeded", charge_of(topup))
    SavedCard.objects.all().delete()
    assert tell("charge.updated", charge_of(topup)) == 200
    assert not SavedCard.objects.exists()


def test_charge_and_invoice_of_others_are_ignored(db: None) -> None:
    assert tell("charge.succeeded", {"id": "ch_1", "metadata": {}}) == 200
    assert tell("invoice.paid", {"id": "in_1", "metadata": None}) == 200


def test_customer_has_paid_once_a_payment_was_credited(acme: Organization, rival: Organization) -> None:
    topup = make_topup(acme, 500)
    assert not topups.has_paid(acme)
    fulfil(topup)
    assert topups.has_paid(acme)
    assert not topups.has_paid(rival)
