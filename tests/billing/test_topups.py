"""Top-ups: starting them at Stripe, and the effect of Stripe's reports in any order and by any route."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.errors import InvalidField, NotConfigured, UpstreamFailed
from accounts.models import Organization, User
from billing import ledger, stripe_api, stripe_mapping, topups
from billing.models import Entry, EntryKind
from billing.models.payments import SavedCard, TopUp, TopUpState, UnmatchedEvent
from tests.billing.conftest import money_of
from tests.billing.stripe_objects import charge_of, deliver, event_of, intent_of, make_topup, session_of, tell
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting

ADDRESSES = {
    "success_url": "http://localhost:8000/billing/top-up/{TOPUP_ID}/success/",
    "cancel_url": "http://localhost:8000/billing/top-up/{TOPUP_ID}/cancelled/",
}
DEAD = ["refused", "error", "timeout"]


@pytest.fixture
def payer(acme: Organization) -> User:
    user = User.objects.create_user("payer@example.com")
    acme.memberships.create(user=user, role="owner")
    return user


def start(organization: Organization, person: User, amount_cents: int = 20_000, **fields: Any) -> topups.Checkout:
    return topups.start_checkout(
        organization, **{"amount_cents": amount_cents, "person": person, "save_card": False, **ADDRESSES, **fields}
    )


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


# --- Starting --------------------------------------------------------------------------------------------------------


def test_checkout_names_our_row_everywhere(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    checkout = start(acme, payer)
    topup, topup_id = checkout.topup, str(checkout.topup.pk)
    assert (topup.state, topup.person, topup.bonus_cents) == (TopUpState.PENDING, payer, 1_000)
    session = stripe_sandbox.get(topup.checkout_session_id)
    assert checkout.url == session["url"]
    assert session["client_reference_id"] == session["metadata"]["topup_id"] == topup_id
    assert (session["amount_total"], session["currency"], session["mode"]) == (20_000, "usd", "payment")
    assert session["success_url"] == f"http://localhost:8000/billing/top-up/{topup_id}/success/"
    assert session["cancel_url"] == f"http://localhost:8000/billing/top-up/{topup_id}/cancelled/"
    assert session["invoice_creation"]["enabled"]
    assert session["tax_id_collection"]["enabled"]
    stripe_sandbox.pay(topup.checkout_session_id)
    intent = stripe_sandbox.all("payment_intent")[0]
    assert intent["metadata"]["topup_id"] == topup_id
    assert intent["setup_future_usage"] is None


@pytest.mark.parametrize("amount_cents", [-1, 0, 1, 499, 100_001])
def test_amount_out_of_bounds_is_refused_before_anything_is_made(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, amount_cents: int
) -> None:
    with pytest.raises(InvalidField, match=r"from \$5.00 to \$1,000.00"):
        start(acme, payer, amount_cents)
    assert not TopUp.objects.exists()


@pytest.mark.parametrize(("amount_cents", "bonus_cents"), [(500, 0), (19_999, 0), (25_000, 1_250), (100_000, 10_000)])
def test_any_amount_between_earns_the_bonus_of_the_tier_it_reaches(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, amount_cents: int, bonus_cents: int
) -> None:
    assert start(acme, payer, amount_cents).topup.bonus_cents == bonus_cents


def test_without_stripe_nobody_pays(settings: Any, acme: Organization, payer: User) -> None:
    settings.STRIPE_API_KEY = ""
    with pytest.raises(NotConfigured):
        start(acme, payer)
    assert TopUp.objects.get().state == TopUpState.FAILED


# --- A dead Stripe ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [*DEAD, "response_lost"])
def test_dead_stripe_is_said_and_nothing_is_half_made(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, how: str
) -> None:
    with stripe_sandbox.failing(how), pytest.raises(UpstreamFailed) as caught:
        start(acme, payer)
    assert caught.value.http_status == 502
    assert "Nothing was charged" in caught.value.message
    topup = TopUp.objects.get()
    assert (topup.state, topup.failure) == (TopUpState.FAILED, caught.value.message)
    assert not Entry.objects.exists()
    # The sweep finds nothing to check, and the next attempt works.
    assert topups.sweep(now=timezone.now() + timedelta(days=1)) == 0
    assert start(acme, payer).topup.state == TopUpState.PENDING


@pytest.mark.django_db(transaction=True)
def test_nothing_is_locked_or_open_while_stripe_is_waited_for(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User
) -> None:
    seen = []

    def record(perform: Perform, _: Request) -> Response:
        seen.append((connection.in_atomic_block, connection.connection is None, TopUp.objects.get().state))
        connection.close()  # the query above opened it
        return perform()

    with intercepting(record), stripe_sandbox.failing("timeout"), pytest.raises(UpstreamFailed):
        start(acme, payer)
    # The row is committed, and no connection is held.
    assert set(seen) == {(False, True, TopUpState.STARTING)}


@pytest.mark.django_db(transaction=True)
def test_stripe_is_not_called_inside_a_transaction(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User
) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        start(acme, payer)
    assert not TopUp.objects.exists()


def test_fault_of_ours_ends_the_row_too(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, settings: Any
) -> None:
    settings.STRIPE_SANDBOX_FILE = None
    stripe_api._client.cache_clear()
    with pytest.raises(Exception, match=r".*") as caught:
        start(acme, payer)
    assert not isinstance(caught.value, UpstreamFailed)
    topup = TopUp.objects.get()
    assert (topup.state, topup.failure) == (TopUpState.FAILED, topups.INTERRUPTED)


# --- Paying ----------------------------------------------------------------------------------------------------------


def test_webhooks_alone_are_enough(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    topup = start(acme, payer, save_card=True).topup
    stripe_sandbox.pay(topup.checkout_session_id)
    assert {status for _, status in stripe_sandbox.deliver()} == {200}
    assert money_of(acme) == (210_000_000, 0)
    topup.refresh_from_db()
    assert topup.receipt_url
    assert topup.invoice_url
    assert topup.invoice_pdf_url
    assert SavedCard.objects.get().last4 == "4242"


def test_success_page_alone_is_enough(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    topup = start(acme, payer, save_card=True).topup
    stripe_sandbox.pay(topup.checkout_session_id)
    topup = topups.confirm(topup)
    assert topup.is_paid
    assert money_of(acme) == (210_000_000, 0)
    assert topup.receipt_url
    assert topup.invoice_url
    assert SavedCard.objects.get().last4 == "4242"
    stripe_sandbox.deliver(order="shuffled", times=2)
    assert money_of(acme) == (210_000_000, 0)


def test_clock_alone_is_enough(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id)
    assert topups.sweep() == 0
    assert topups.sweep(now=timezone.now() + topups.FIRST_CHECK_AFTER) == 1
    assert money_of(acme) == (210_000_000, 0)


@pytest.mark.parametrize("order", ["", "reversed", "shuffled"])
def test_events_twice_and_in_any_order_credit_once(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, order: str
) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id, "transfer_paid")
    stripe_sandbox.settle(topup.checkout_session_id)
    assert {status for _, status in stripe_sandbox.deliver(order=order, times=2)} == {200}
    assert money_of(acme) == (210_000_000, 0)


def test_declined_payer_stays_on_stripes_page(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id, "declined")
    stripe_sandbox.deliver()
    assert topups.confirm(topup).state == TopUpState.PENDING
    stripe_sandbox.pay(topup.checkout_session_id)
    stripe_sandbox.deliver()
    assert money_of(acme) == (210_000_000, 0)


def test_success_page_of_a_slow_bank_says_that_it_is_on_its_way(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User
) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id, "transfer_failed")
    assert topups.confirm(topup).state == TopUpState.PROCESSING
    stripe_sandbox.settle(topup.checkout_session_id, is_paid=False)
    stripe_sandbox.deliver()
    assert topups.confirm(topup).state == TopUpState.FAILED
    assert not Entry.objects.exists()


@pytest.mark.parametrize("how", DEAD)
def test_success_page_survives_a_dead_stripe(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, how: str
) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id)
    with stripe_sandbox.failing(how):
        assert topups.confirm(topup).state == TopUpState.PENDING


# --- The clock -------------------------------------------------------------------------------------------------------


@pytest.fixture
def later() -> Iterator[Any]:
    return timezone.now() + timedelta(hours=1)


def test_clock_ends_what_was_never_paid(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, later: Any
) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.expire(topup.checkout_session_id)
    topups.sweep(now=later)
    topup.refresh_from_db()
    assert (topup.state, topup.failure) == (TopUpState.EXPIRED, topups.NOT_PAID)


def test_clock_asks_again_only_after_a_while(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, later: Any
) -> None:
    start(acme, payer)
    assert topups.sweep(now=later) == 1
    assert topups.sweep(now=later) == 0
    assert topups.sweep(now=later + topups.NEXT_CHECK_AFTER) == 1


def test_clock_ends_what_died_before_stripe_answered(acme: Organization, later: Any) -> None:
    topup = topups.begin(acme, amount_cents=1_000, person=None)
    topups.sweep(now=timezone.now() + topups.FIRST_CHECK_AFTER)
    topup.refresh_from_db()
    assert topup.state == TopUpState.STARTING
    topups.sweep(now=later)
    topup.refresh_from_db()
    assert (topup.state, topup.failure) == (TopUpState.FAILED, topups.INTERRUPTED)


def test_clock_ends_what_stripe_does_not_know(stripe_sandbox: StripeSandbox, acme: Organization, later: Any) -> None:
    topup = topups.begin(acme, amount_cents=1_000, person=None)
    TopUp.objects.update(checkout_session_id="cs_test_gone", state=TopUpState.PENDING)
    topups.sweep(now=later)
    topup.refresh_from_db()
    assert topup.state == TopUpState.FAILED


def test_one_that_cannot_be_fulfilled_does_not_stop_the_others(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, later: Any
) -> None:
    broken, fine = start(acme, payer).topup, start(acme, payer).topup
    for topup in (broken, fine):
        stripe_sandbox.pay(topup.checkout_session_id)
    rival = Organization.objects.create(name="Rival")
    from billing.models import EntryKind

    ledger.credit(rival, amount_micros=1, kind=EntryKind.PAYMENT, reference=broken.reference)
    assert topups.sweep(now=later) == 2
    assert money_of(acme) == (210_000_000, 0)


def test_clock_stops_asking_a_dead_stripe(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, later: Any
) -> None:
    for _ in range(3):
        start(acme, payer)
    with stripe_sandbox.failing("timeout"):
        assert topups.sweep(now=later) == 1
    assert topups.sweep(now=later) == 2


def test_webhook_body_is_what_the_sandbox_says(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    """Session and intent name the row in the events too, not only in answers."""
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id)
    bodies = [json.dumps(event) for event in stripe_sandbox.pending_events()]
    assert sum(str(topup.pk) in body for body in bodies) >= 4
