"""Top-ups from the form to the book, with Stripe and the payer's bank in the test's hands."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.errors import InvalidField, NotConfigured, UpstreamFailed
from accounts.models import Organization, User
from billing import checkouts, stripe_api, stripe_calls, topups
from billing.models import Entry
from billing.models.payments import Customer, SavedCard, TopUp, TopUpState
from billing.sandbox.payment_actions import Impossible
from tests.billing.conftest import money_of
from tests.billing.stripe_objects import intent_of, tell
from tests.stripe import StripeSandbox

ADDRESSES = {
    "success_url": "http://localhost:8000/billing/top-up/{TOPUP_ID}/success/",
    "cancel_url": "http://localhost:8000/billing/top-up/{TOPUP_ID}/cancelled/",
}
DEAD = ["refused", "error", "silence"]


@pytest.fixture
def payer(acme: Organization) -> User:
    user = User.objects.create_user("payer@example.com")
    acme.memberships.create(user=user, role="owner")
    return user


def start(organization: Organization, person: User, amount_cents: int = 20_000, **fields: Any) -> topups.Checkout:
    return topups.start_checkout(
        organization, **{"amount_cents": amount_cents, "person": person, "save_card": False, **ADDRESSES, **fields}
    )


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


def test_organization_has_one_customer(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    start(acme, payer)
    start(acme, payer)
    customer = stripe_sandbox.all("customer")[0]
    assert len(stripe_sandbox.all("customer")) == 1
    assert Customer.objects.get(organization=acme).stripe_id == customer["id"]
    assert (customer["email"], customer["metadata"]["organization_id"]) == ("payer@example.com", str(acme.pk))


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


@pytest.mark.parametrize("how", [*DEAD, "answer_lost"])
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
    # The clock has nothing to ask, and the next try works.
    assert topups.sweep(now=timezone.now() + timedelta(days=1)) == 0
    assert start(acme, payer).topup.state == TopUpState.PENDING


@pytest.mark.django_db(transaction=True)
def test_nothing_is_locked_or_open_while_stripe_is_waited_for(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from billing.sandbox.transport import SandboxTransport

    seen = []
    request = SandboxTransport.request

    def watch(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append((connection.in_atomic_block, connection.connection is None, TopUp.objects.get().state))
        connection.close()  # our question opened it
        return request(self, *args, **kwargs)

    monkeypatch.setattr(SandboxTransport, "request", watch)
    with stripe_sandbox.failing("silence"), pytest.raises(UpstreamFailed):
        start(acme, payer)
    # The row is there for others to see, and not even a connection is held (SQLite's in memory cannot be let go).
    assert set(seen) == {(False, connection.vendor == "postgresql", TopUpState.STARTING)}


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
    stripe_sandbox.pay(topup.checkout_session_id, "later_paid")
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
    stripe_sandbox.pay(topup.checkout_session_id, "later_failed")
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


# --- Leaving and coming back -----------------------------------------------------------------------------------------


def test_page_that_was_left_can_be_gone_back_to(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    checkout = start(acme, payer)
    assert checkouts.page_of(checkout.topup) == checkout.url
    stripe_sandbox.pay(checkout.topup.checkout_session_id)
    stripe_sandbox.deliver()
    assert money_of(acme) == (210_000_000, 0)


@pytest.mark.parametrize(
    ("outcome", "state"), [("paid", TopUpState.PAID), ("later_paid", TopUpState.PROCESSING), ("", TopUpState.EXPIRED)]
)
def test_page_of_what_is_paid_or_over_is_none_and_the_row_says_why(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, outcome: str, state: str
) -> None:
    topup = start(acme, payer).topup
    if outcome:
        stripe_sandbox.pay(topup.checkout_session_id, outcome)
    else:
        stripe_sandbox.expire(topup.checkout_session_id)
    assert checkouts.page_of(topup) == ""
    assert topup.state == state
    assert checkouts.page_of(topup) == ""


def test_cancelled_page_takes_no_money_any_more(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    topup = checkouts.cancel(start(acme, payer).topup)
    assert (topup.state, topup.failure) == (TopUpState.EXPIRED, checkouts.CANCELLED)
    assert stripe_sandbox.get(topup.checkout_session_id)["status"] == "expired"
    with pytest.raises(Impossible):
        stripe_sandbox.pay(topup.checkout_session_id)
    assert {status for _, status in stripe_sandbox.deliver(times=2)} == {200}
    # Cancelled twice, or told of by Stripe's event: still what the payer did.
    topup = checkouts.cancel(topup)
    assert (topup.state, topup.failure) == (TopUpState.EXPIRED, checkouts.CANCELLED)
    assert not Entry.objects.exists()


def test_event_that_overtakes_the_answer_does_not_say_that_nobody_cancelled(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    topup = start(acme, payer).topup
    expire = stripe_calls.expire_checkout

    def told_meanwhile(session_id: str) -> Any:
        session = expire(session_id)
        assert {status for _, status in stripe_sandbox.deliver()} == {200}
        return session

    monkeypatch.setattr(stripe_calls, "expire_checkout", told_meanwhile)
    assert checkouts.cancel(topup).failure == checkouts.CANCELLED


@pytest.mark.parametrize("is_told", [True, False])
def test_money_that_came_in_the_moment_of_cancelling_is_credited_once(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, is_told: bool
) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id)
    if is_told:
        # Our caller has read the row before.
        stripe_sandbox.deliver(only="checkout.session")
    assert checkouts.cancel(topup).state == TopUpState.PAID
    assert money_of(acme) == (210_000_000, 0)
    stripe_sandbox.deliver(times=2, order="shuffled")
    assert money_of(acme) == (210_000_000, 0)


def test_bank_that_is_at_it_cannot_be_cancelled(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id, "later_paid")
    for _ in range(2):
        topup = checkouts.cancel(topup)
        assert topup.state == TopUpState.PROCESSING
    stripe_sandbox.settle(topup.checkout_session_id)
    stripe_sandbox.deliver()
    assert money_of(acme) == (210_000_000, 0)


def test_money_that_comes_after_cancelling_is_credited(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User
) -> None:
    topup = checkouts.cancel(start(acme, payer).topup)
    assert tell("payment_intent.succeeded", intent_of(topup)) == 200
    topup.refresh_from_db()
    assert (topup.state, topup.failure) == (TopUpState.PAID, "")
    assert money_of(acme) == (210_000_000, 0)


@pytest.mark.parametrize("how", DEAD)
def test_dead_stripe_cancels_nothing_and_says_so(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, how: str
) -> None:
    topup = start(acme, payer).topup
    with stripe_sandbox.failing(how), pytest.raises(UpstreamFailed):
        checkouts.cancel(topup)
    topup.refresh_from_db()
    assert topup.state == TopUpState.PENDING
    with stripe_sandbox.failing(how), pytest.raises(UpstreamFailed):
        checkouts.page_of(topup)
    stripe_sandbox.pay(topup.checkout_session_id)
    assert checkouts.cancel(topup).is_paid


def test_lost_answer_of_cancelling_is_found_by_cancelling_again(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User
) -> None:
    topup = start(acme, payer).topup
    with stripe_sandbox.failing("answer_lost"), pytest.raises(UpstreamFailed):
        checkouts.cancel(topup)
    assert checkouts.cancel(topup).state == TopUpState.EXPIRED


def test_automatic_one_has_no_page(acme: Organization) -> None:
    topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
    assert checkouts.page_of(topup) == ""
    assert checkouts.cancel(topup).state == TopUpState.STARTING


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
    from billing import ledger
    from billing.models import EntryKind

    ledger.credit(rival, amount_micros=1, kind=EntryKind.PAYMENT, reference=broken.reference)
    assert topups.sweep(now=later) == 2
    assert money_of(acme) == (210_000_000, 0)


def test_clock_stops_asking_a_dead_stripe(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, later: Any
) -> None:
    for _ in range(3):
        start(acme, payer)
    with stripe_sandbox.failing("silence"):
        assert topups.sweep(now=later) == 1
    assert topups.sweep(now=later) == 2


def test_webhook_body_is_what_the_sandbox_says(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    """Session and intent name the row in the events too, not only where we ask."""
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id)
    bodies = [json.dumps(event) for event in stripe_sandbox.waiting()]
    assert sum(str(topup.pk) in body for body in bodies) >= 4
