"""Top-ups at Stripe, by the payer, the success page, webhooks and the clock: starting them, and what comes of them."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.errors import InvalidField, NotConfigured, UpstreamFailed
from accounts.models import Organization, User
from billing import ledger, stripe_api, topups
from billing.models import Entry, EntryKind
from billing.models.payments import SavedCard, TopUp, TopUpState
from tests.billing.conftest import money_of
from tests.billing.paying import DEAD, start
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting


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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize("order", ["", "reversed", "shuffled"])
def test_events_twice_and_in_any_order_credit_once(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, order: str
) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id, "transfer_paid")
    stripe_sandbox.settle(topup.checkout_session_id)
    assert {status for _, status in stripe_sandbox.deliver(order=order, times=2)} == {200}
    assert money_of(acme) == (210_000_000, 0)


@pytest.mark.long
def test_declined_payer_stays_on_stripes_page(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id, "declined")
    stripe_sandbox.deliver()
    assert topups.confirm(topup).state == TopUpState.PENDING
    stripe_sandbox.pay(topup.checkout_session_id)
    stripe_sandbox.deliver()
    assert money_of(acme) == (210_000_000, 0)


@pytest.mark.long
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
