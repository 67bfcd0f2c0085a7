"""The history of payments, and what can be done with one that was left."""

import re
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from accounts.gate import limits
from billing import automatic_topups, ledger, periodic
from billing.models.payments import TopUp, TopUpState
from tests.billing.pages.conftest import balance_of, pay, start
from tests.billing.stripe_objects import make_topup

pytestmark = pytest.mark.django_db


def test_history_has_state_receipts_and_the_reason_of_failures(browser, organization, charlies, stripe_sandbox):
    pay(browser, stripe_sandbox)
    stripe_sandbox.deliver()
    make_topup(organization, 7_500, state=TopUpState.FAILED, failure="Your bank declined the payment.")
    make_topup(charlies, 33_300)
    topup = TopUp.objects.get(state=TopUpState.PAID)
    page = browser.get("/billing/payments/").content.decode()
    assert topup.receipt_url
    assert topup.invoice_url
    for text in (topup.receipt_url, topup.invoice_url, "$10.00 bonus", "Your bank declined the payment.", "not paid"):
        assert text in page
    assert "$333.00" not in page


def test_history_links_the_invoice_of_an_automatic_topup(browser, alice, organization, charlies, stripe_sandbox):
    pay(browser, stripe_sandbox, save_card="on")
    stripe_sandbox.deliver()
    available = ledger.wallet_of(organization).available_micros
    ledger.settle(ledger.reserve(organization, amount_micros=available, reference="job:1"), actual_micros=available)
    automatic_topups.turn_on(
        organization, person=alice, threshold_cents=500, amount_cents=30_000, monthly_cap_cents=50_000
    )
    periodic.top_up_automatically()
    topup = TopUp.objects.get(is_automatic=True)
    assert links_in_history(browser, topup) == ["Receipt", "Refund"]
    periodic.invoice_automatic_topups()
    topup.refresh_from_db()
    assert links_in_history(browser, topup) == ["Receipt", "Invoice", "PDF", "Refund"]
    assert f'href="{topup.invoice_url}"' in browser.get("/billing/payments/").content.decode()
    assert f'href="{topup.invoice_url}"' in browser.get(f"/billing/top-up/{topup.pk}/success/").content.decode()
    # The receipt, as Stripe would show it.
    paper = browser.get(urlsplit(topup.invoice_url).path).content.decode()
    assert "$300.00" in paper
    assert "Amount due" not in paper


def links_in_history(browser, topup):
    """Return what the row of a top-up links to, in order."""
    rows = browser.get("/billing/payments/").content.decode().split("<tr>")
    [row] = [row for row in rows if topup.receipt_url in row]
    return re.findall(r"<a [^>]*>(\w+)", row)


@pytest.mark.long
@pytest.mark.parametrize(
    ("is_won", "words"),
    [(True, "won, the money is back in your balance."), (False, "lost, the bank keeps the money.")],
)
def test_history_says_how_a_dispute_stands(browser, organization, stripe_sandbox, is_won, words):
    topup = pay(browser, stripe_sandbox)
    dispute = stripe_sandbox.dispute(topup.payment_intent_id)
    stripe_sandbox.deliver()
    assert dispute_words(browser) == ["the bank holds the money until it is decided."]
    stripe_sandbox.close_dispute(dispute["id"], is_won=is_won)
    stripe_sandbox.deliver()
    assert dispute_words(browser) == [words]


def test_history_says_of_an_inquiry_that_nothing_was_taken(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    stripe_sandbox.dispute(topup.payment_intent_id, is_inquiry=True)
    stripe_sandbox.deliver()
    assert dispute_words(browser) == ["the bank has not withdrawn the money."]


def dispute_words(browser):
    """Return what the history says about each dispute."""
    page = browser.get("/billing/payments/").content.decode()
    return re.findall(r"\$200\.00 disputed: ([^<]*)<", page)


def test_long_history_is_shown_in_pages(browser, organization):
    now = timezone.now()
    topups = [make_topup(organization, state=TopUpState.EXPIRED, created_at=now) for _ in range(20)]
    topups += [
        make_topup(organization, state=TopUpState.EXPIRED, created_at=now - timedelta(hours=number))
        for number in range(1, 11)
    ]
    first = browser.get("/billing/payments/")
    second = browser.get("/billing/payments/", {"before": str(first.context["next_cursor"])})
    shown = [row["topup"].pk for page in (first, second) for row in page.context["payments"]]
    assert len(first.context["payments"]) == 25
    assert sorted(shown) == sorted(topup.pk for topup in topups)


@pytest.mark.parametrize("before", ["x", "", "00000000-0000-4000-8000-000000000000"])
def test_odd_cursor_is_harmless(browser, organization, before):
    assert browser.get("/billing/payments/", {"before": before}).status_code == 200


def test_payment_that_was_left_is_offered_to_go_on_or_to_cancel(browser, organization, stripe_sandbox):
    topup = start(browser)
    for address in ("/billing/payments/", "/billing/"):
        page = browser.get(address).content.decode()
        assert "Incomplete" in page
        assert f"/billing/top-up/{topup.pk}/pay/" in page
        assert f"/billing/top-up/{topup.pk}/cancelled/" in page
    page = browser.get(f"/billing/top-up/{topup.pk}/cancelled/").content.decode()
    assert f"/billing/top-up/{topup.pk}/pay/" in page
    assert f'action="/o/{topup.organization_id}/billing/top-up/{topup.pk}/cancel/"' in page


def test_going_on_leads_to_the_page_that_stripe_still_has_open(browser, organization, stripe_sandbox):
    topup = start(browser)
    response = browser.get(f"/billing/top-up/{topup.pk}/pay/")
    assert (response.status_code, response.url) == (302, stripe_sandbox.get(topup.checkout_session_id)["url"])


@pytest.mark.parametrize(
    ("outcome", "says"), [("paid", "$200.00 paid, $210.00 added"), ("transfer_paid", "on its way")]
)
def test_going_on_with_what_is_paid_shows_what_became_of_it(browser, organization, stripe_sandbox, outcome, says):
    topup = start(browser)
    stripe_sandbox.pay(topup.checkout_session_id, outcome)
    assert says in browser.get(f"/billing/top-up/{topup.pk}/pay/", follow=True).content.decode()


def test_going_on_with_what_is_over_offers_to_start_anew(browser, organization, stripe_sandbox):
    topup = start(browser)
    stripe_sandbox.expire(topup.checkout_session_id)
    page = browser.get(f"/billing/top-up/{topup.pk}/pay/", follow=True).content.decode()
    assert "The payment was not made" in page
    assert f'href="/o/{topup.organization_id}/billing/top-up/"' in page


def test_cancelling_ends_the_payment_here_and_at_stripe(browser, organization, stripe_sandbox):
    topup = start(browser)
    page = browser.post(f"/billing/top-up/{topup.pk}/cancel/", follow=True).content.decode()
    assert "Payment of $200.00 canceled. Nothing was charged." in page
    assert stripe_sandbox.get(topup.checkout_session_id)["status"] == "expired"
    assert "Incomplete" not in page
    assert f"/billing/top-up/{topup.pk}/pay/" not in page


def test_cancelling_what_was_just_paid_shows_that_it_is_paid(browser, organization, stripe_sandbox):
    before = balance_of(organization)
    topup = start(browser)
    stripe_sandbox.pay(topup.checkout_session_id)
    page = browser.post(f"/billing/top-up/{topup.pk}/cancel/", follow=True).content.decode()
    assert "$200.00 paid, $210.00 added" in page
    assert "canceled. Nothing" not in page
    assert balance_of(organization) - before == 210_000_000


@pytest.mark.parametrize(("method", "address"), [("post", "cancel"), ("get", "pay")])
def test_dead_stripe_is_said_and_the_payment_stays_as_it_is(browser, organization, stripe_sandbox, method, address):
    topup = start(browser)
    with stripe_sandbox.failing("refused"):
        page = getattr(browser, method)(f"/billing/top-up/{topup.pk}/{address}/", follow=True).content.decode()
    assert "is not responding" in page
    assert "Incomplete" in page
    # The payment may have been made.
    assert "Nothing was charged" not in page
    assert "If you did pay, do not pay again" in page


def test_cancelling_is_never_done_by_a_link(browser, organization, stripe_sandbox):
    topup = start(browser)
    assert browser.get(f"/billing/top-up/{topup.pk}/cancel/").status_code == 405
    assert stripe_sandbox.get(topup.checkout_session_id)["status"] == "open"


def test_going_on_and_cancelling_count_as_questions_to_stripe(browser, organization, stripe_sandbox, settings, request):
    topup = start(browser)
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "topups": "2/hour"}
    limits._limit.cache_clear()
    request.addfinalizer(limits._limit.cache_clear)
    statuses = [browser.get(f"/billing/top-up/{topup.pk}/pay/").status_code for _ in range(3)]
    assert statuses == [302, 302, 429]
    assert browser.post(f"/billing/top-up/{topup.pk}/cancel/").status_code == 429
    assert stripe_sandbox.get(topup.checkout_session_id)["status"] == "open"
    # Nothing is asked of Stripe about a payment that has ended.
    stripe_sandbox.expire(topup.checkout_session_id)
    stripe_sandbox.deliver()
    assert browser.get(f"/billing/top-up/{topup.pk}/pay/").status_code == 302


def test_strangers_and_members_neither_pay_nor_cancel(browser, bob, charlie, client_of, stripe_sandbox):
    topup = start(browser)
    for person, status in ((bob, 403), (charlie, 404)):
        assert client_of(person).post(f"/billing/top-up/{topup.pk}/cancel/").status_code == status
        assert client_of(person).get(f"/billing/top-up/{topup.pk}/pay/").status_code == status
    assert stripe_sandbox.get(topup.checkout_session_id)["status"] == "open"
