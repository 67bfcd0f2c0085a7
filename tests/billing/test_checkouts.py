"""A payer who left Stripe's pay page goes back to it or cancels it, with and without an answer from Stripe."""

import pytest

from accounts.errors import UpstreamFailed
from accounts.models import Organization, User
from billing import checkouts, topups
from billing.models import Entry
from billing.models.payments import TopUpState
from billing.sandbox.store import ActionRefused
from tests.billing.conftest import money_of
from tests.billing.paying import DEAD, start
from tests.billing.stripe_objects import intent_of, tell
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting


def test_page_that_was_left_can_be_gone_back_to(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    checkout = start(acme, payer)
    assert checkouts.page_of(checkout.topup) == checkout.url
    stripe_sandbox.pay(checkout.topup.checkout_session_id)
    stripe_sandbox.deliver()
    assert money_of(acme) == (210_000_000, 0)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("paid", TopUpState.PAID), ("transfer_paid", TopUpState.PROCESSING), ("", TopUpState.EXPIRED)],
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
    with pytest.raises(ActionRefused):
        stripe_sandbox.pay(topup.checkout_session_id)
    assert {status for _, status in stripe_sandbox.deliver(times=2)} == {200}
    # A second cancellation and Stripe's event do not change the reason.
    topup = checkouts.cancel(topup)
    assert (topup.state, topup.failure) == (TopUpState.EXPIRED, checkouts.CANCELLED)
    assert not Entry.objects.exists()


def test_event_that_overtakes_the_answer_does_not_say_that_nobody_cancelled(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User
) -> None:
    topup = start(acme, payer).topup
    delivered = []

    def deliver_before_the_response(perform: Perform, request: Request) -> Response:
        response = perform()
        if request.path.endswith("/expire"):
            delivered.extend(stripe_sandbox.deliver())
        return response

    with intercepting(deliver_before_the_response):
        assert checkouts.cancel(topup).failure == checkouts.CANCELLED
    assert ("checkout.session.expired", 200) in delivered


@pytest.mark.parametrize("is_told", [True, False])
def test_money_that_came_in_the_moment_of_cancelling_is_credited_once(
    stripe_sandbox: StripeSandbox, acme: Organization, payer: User, is_told: bool
) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id)
    if is_told:
        # The caller has an older copy of the row.
        stripe_sandbox.deliver(only="checkout.session")
    assert checkouts.cancel(topup).state == TopUpState.PAID
    assert money_of(acme) == (210_000_000, 0)
    stripe_sandbox.deliver(times=2, order="shuffled")
    assert money_of(acme) == (210_000_000, 0)


def test_bank_that_is_at_it_cannot_be_cancelled(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    topup = start(acme, payer).topup
    stripe_sandbox.pay(topup.checkout_session_id, "transfer_paid")
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
    with stripe_sandbox.failing("response_lost"), pytest.raises(UpstreamFailed):
        checkouts.cancel(topup)
    assert checkouts.cancel(topup).state == TopUpState.EXPIRED


def test_automatic_one_has_no_page(acme: Organization) -> None:
    topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
    assert checkouts.page_of(topup) == ""
    assert checkouts.cancel(topup).state == TopUpState.STARTING
