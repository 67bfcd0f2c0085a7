"""Top-up pages, against the sandbox at Stripe's network edge."""

import re
import uuid

import pytest
from django.conf import settings
from django.core.cache import cache
from redis import Redis

from accounts.gate import limits
from billing.models.payments import TopUp, TopUpState
from tests.billing.pages.conftest import balance_of, pay, start
from tests.billing.stripe_objects import make_topup

pytestmark = pytest.mark.django_db


# --- Choosing an amount ----------------------------------------------------------------------------------------------


def test_choice_leads_to_stripe_and_comes_back_to_this_topup(browser, organization, stripe_sandbox):
    topup = start(browser, amount="20000")
    assert (topup.organization, topup.amount_cents, topup.bonus_cents) == (organization, 20_000, 1_000)
    session = stripe_sandbox.get(topup.checkout_session_id)
    assert session["amount_total"] == 20_000
    assert session["success_url"] == f"{settings.SITE_URL}/o/{topup.organization_id}/billing/top-up/{topup.pk}/success/"
    assert (
        session["cancel_url"] == f"{settings.SITE_URL}/o/{topup.organization_id}/billing/top-up/{topup.pk}/cancelled/"
    )


def test_another_amount_is_charged_to_the_cent(browser, stripe_sandbox):
    assert start(browser, amount="custom", custom="75.01").amount_cents == 7_501


@pytest.mark.parametrize("is_saved", [True, False])
def test_card_is_saved_only_if_asked(browser, stripe_sandbox, is_saved):
    topup = start(browser, **({"save_card": "on"} if is_saved else {}))
    assert topup.save_card is is_saved


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": ""},
        {"amount": "1"},
        {"amount": "-20000"},
        {"amount": "custom"},
        {"amount": "custom", "custom": "4.99"},
        {"amount": "custom", "custom": "1000.01"},
        {"amount": "custom", "custom": "20.001"},
        {"amount": "custom", "custom": "NaN"},
        {"amount": "custom", "custom": "1e3"},
        # The two amounts contradict each other.
        {"amount": "20000", "custom": "75"},
    ],
)
def test_amount_that_cannot_be_or_is_unclear_reaches_nobody(browser, stripe_sandbox, fields):
    response = browser.post("/billing/top-up/", fields)
    if fields.get("custom") == "1e3":
        # A thousand dollars in several notations.
        assert TopUp.objects.get().amount_cents == 100_000
        return
    assert response.status_code == 400
    assert 'role="alert"' in response.content.decode()
    assert not TopUp.objects.exists()
    assert stripe_sandbox.all("checkout.session") == []


def test_dead_stripe_is_said_and_nothing_is_booked(browser, organization, stripe_sandbox):
    before = balance_of(organization)
    with stripe_sandbox.failing("refused"):
        response = browser.post("/billing/top-up/", {"amount": "20000"})
    assert response.status_code == 502
    assert "Continue to payment" in response.content.decode()
    assert balance_of(organization) == before


@pytest.mark.parametrize(
    ("needed", "chosen"), [("35", "1000"), ("1001", "5000"), ("20001", "50000"), ("99999", "5000"), ("x", "5000")]
)
def test_smallest_product_that_covers_the_shortfall_is_chosen(browser, needed, chosen):
    page = browser.get("/billing/top-up/", {"needed": needed}).content.decode()
    (checked,) = re.findall(r'name="amount" value="(\w+)" required checked', page)
    assert checked == chosen


def test_shortfall_is_shown(browser):
    assert "at least <strong>$0.35</strong> more" in browser.get("/billing/top-up/?needed=35").content.decode()
    assert "at least" not in browser.get("/billing/top-up/").content.decode()


def test_many_topups_in_an_hour_are_too_many(browser, stripe_sandbox, settings, request):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "topups": "2/hour"}
    limits._limit.cache_clear()
    request.addfinalizer(limits._limit.cache_clear)
    statuses = [browser.post("/billing/top-up/", {"amount": "1000"}).status_code for _ in range(3)]
    assert statuses == [302, 302, 429]


# --- Coming back -----------------------------------------------------------------------------------------------------


def test_success_page_books_what_is_paid_and_shows_it(browser, organization, stripe_sandbox):
    before = balance_of(organization)
    topup = start(browser)
    stripe_sandbox.pay(topup.checkout_session_id)
    page = browser.get(f"/billing/top-up/{topup.pk}/success/").content.decode()
    assert "$200.00 paid, $210.00 added" in page
    assert "$211.00" in page
    assert balance_of(organization) - before == 210_000_000


def test_success_page_and_webhook_book_once(browser, organization, stripe_sandbox):
    before = balance_of(organization)
    topup = pay(browser, stripe_sandbox)
    stripe_sandbox.deliver()
    browser.get(f"/billing/top-up/{topup.pk}/success/")
    assert balance_of(organization) - before == 210_000_000


def test_success_page_never_shows_money_that_is_not_booked(browser, organization, stripe_sandbox):
    before = balance_of(organization)
    topup = start(browser)
    page = browser.get(f"/billing/top-up/{topup.pk}/success/").content.decode()
    assert "Nothing is added to your balance yet" in page
    assert "paid, $" not in page
    assert 'http-equiv="refresh"' in page
    assert balance_of(organization) == before


def test_slow_bank_is_on_its_way_and_then_paid(browser, organization, stripe_sandbox):
    before = balance_of(organization)
    topup = start(browser)
    stripe_sandbox.pay(topup.checkout_session_id, "transfer_paid")
    address = f"/billing/top-up/{topup.pk}/success/"
    assert "Your payment is on its way" in browser.get(address).content.decode()
    assert balance_of(organization) == before
    stripe_sandbox.settle(topup.checkout_session_id)
    stripe_sandbox.deliver()
    page = browser.get(address).content.decode()
    assert "$200.00 paid, $210.00 added" in page
    assert 'http-equiv="refresh"' not in page


def test_slow_bank_that_says_no_is_told(browser, organization, stripe_sandbox):
    before = balance_of(organization)
    topup = start(browser)
    stripe_sandbox.pay(topup.checkout_session_id, "transfer_failed")
    stripe_sandbox.settle(topup.checkout_session_id, is_paid=False)
    stripe_sandbox.deliver()
    page = browser.get(f"/billing/top-up/{topup.pk}/success/").content.decode()
    assert "The payment did not go through" in page
    assert balance_of(organization) == before


@pytest.mark.parametrize("page", ["success", "cancelled"])
def test_who_reloads_does_not_ask_stripe_each_time(browser, stripe_sandbox, page):
    topup = start(browser)
    with stripe_sandbox.failing("refused", times=1_000):
        for _ in range(5):
            assert browser.get(f"/billing/top-up/{topup.pk}/{page}/").status_code == 200
        with stripe_sandbox.state() as state:
            left = int(state.get_setting("failure").partition("*")[2])
    # Stripe's client repeats a failed call once.
    assert 1_000 - left == 2


def test_stripe_is_asked_again_after_some_seconds(browser, organization, stripe_sandbox):
    topup = start(browser)
    address = f"/billing/top-up/{topup.pk}/success/"
    browser.get(address)
    stripe_sandbox.pay(topup.checkout_session_id)
    assert "Nothing is added to your balance yet" in browser.get(address).content.decode()
    # The page reloads after five seconds; the mark must have expired by then. The frozen clock does not affect Redis.
    name = cache.make_key(f"billing:checked-topup:{topup.pk}")
    with Redis.from_url(settings.REDIS_URL) as client:
        assert 0 < client.ttl(name) < 5
        client.delete(name)
    assert "$200.00 paid, $210.00 added" in browser.get(address).content.decode()


@pytest.mark.enable_socket
def test_dead_redis_keeps_no_payer_waiting(browser, stripe_sandbox, settings):
    topup = start(browser)
    stripe_sandbox.pay(topup.checkout_session_id)
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}}
    assert "$200.00 paid" in browser.get(f"/billing/top-up/{topup.pk}/success/").content.decode()


def test_dead_stripe_keeps_the_success_page_waiting(browser, organization, stripe_sandbox):
    topup = start(browser)
    stripe_sandbox.pay(topup.checkout_session_id)
    with stripe_sandbox.failing("refused"):
        page = browser.get(f"/billing/top-up/{topup.pk}/success/").content.decode()
    assert "Nothing is added to your balance yet" in page


def test_payment_under_review_is_said_to_be_looked_at(browser, organization):
    topup = make_topup(organization, state=TopUpState.UNDER_REVIEW)
    assert "reviewing this payment" in browser.get(f"/billing/top-up/{topup.pk}/success/").content.decode()


def test_who_goes_back_is_told_that_nothing_was_charged(browser, organization, stripe_sandbox):
    topup = start(browser)
    page = browser.get(f"/billing/top-up/{topup.pk}/cancelled/").content.decode()
    assert "You did not pay" in page
    assert "$1.00 available" in page


def test_who_paid_and_goes_back_is_not_told_that_they_did_not(browser, organization, stripe_sandbox):
    topup = start(browser)
    stripe_sandbox.pay(topup.checkout_session_id)
    response = browser.get(f"/billing/top-up/{topup.pk}/cancelled/")
    assert response.status_code == 302
    assert response.url == f"/o/{topup.organization_id}/billing/top-up/{topup.pk}/success/"


def test_who_paid_and_goes_back_while_stripe_is_silent_is_not_told_that_nothing_was_charged(browser, stripe_sandbox):
    topup = start(browser)
    stripe_sandbox.pay(topup.checkout_session_id)
    with stripe_sandbox.failing("refused"):
        page = browser.get(f"/billing/top-up/{topup.pk}/cancelled/").content.decode()
    assert "Nothing was charged" not in page
    assert "If you did pay the $200.00, do not pay again" in page


def test_who_paid_something_else_and_goes_back_is_not_told_that_nothing_was_charged(browser, organization):
    topup = make_topup(organization, state=TopUpState.UNDER_REVIEW)
    page = browser.get(f"/billing/top-up/{topup.pk}/cancelled/", follow=True).content.decode()
    assert "reviewing this payment" in page
    assert "Nothing was charged" not in page


@pytest.mark.parametrize("page", ["success", "cancelled"])
def test_strangers_topup_looks_like_none(browser, charlies, stripe_sandbox, page):
    topup = make_topup(charlies)
    assert browser.get(f"/billing/top-up/{topup.pk}/{page}/").status_code == 404
    assert browser.get(f"/billing/top-up/{uuid.uuid4()}/{page}/").status_code == 404
