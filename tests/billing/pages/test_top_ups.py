"""Top-up pages, payment history and refunds, against the sandbox at Stripe's network edge."""

import re
import uuid
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone
from redis import Redis

from accounts.gate import limits
from billing import automatic_topups, ledger, periodic
from billing.models import EntryKind, Wallet
from billing.models.payments import Refund, TopUp, TopUpState
from tests.billing.stripe_objects import make_topup

pytestmark = pytest.mark.django_db


def balance_of(organization):
    return Wallet.objects.of(organization).get().balance_micros


def start(client, **fields):
    """Choose an amount and go to Stripe; return the waiting top-up."""
    response = client.post("/billing/top-up/", {"amount": "20000", **fields})
    assert response.status_code == 302, response.content.decode()
    return TopUp.objects.get(checkout_session_id__in=[part for part in response.url.split("/") if part])


def pay(client, stripe_sandbox, **fields):
    """Buy, and see the success page; return the top-up."""
    topup = start(client, **fields)
    stripe_sandbox.pay(topup.checkout_session_id)
    assert client.get(f"/billing/top-up/{topup.pk}/success/").status_code == 200
    topup.refresh_from_db()
    return topup


@pytest.fixture
def browser(alice, organization, client_of):
    return client_of(alice)


# --- Choosing an amount ----------------------------------------------------------------------------------------------


def test_choice_leads_to_stripe_and_comes_back_to_this_topup(browser, organization, stripe_sandbox):
    topup = start(browser, amount="20000")
    assert (topup.organization, topup.amount_cents, topup.bonus_cents) == (organization, 20_000, 1_000)
    session = stripe_sandbox.get(topup.checkout_session_id)
    assert session["amount_total"] == 20_000
    assert session["success_url"] == f"{settings.SITE_URL}/billing/top-up/{topup.pk}/success/"
    assert session["cancel_url"] == f"{settings.SITE_URL}/billing/top-up/{topup.pk}/cancelled/"


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
    assert response.url == f"/billing/top-up/{topup.pk}/success/"


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


# --- History ---------------------------------------------------------------------------------------------------------


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


# --- Going on and cancelling -----------------------------------------------------------------------------------------


def test_payment_that_was_left_is_offered_to_go_on_or_to_cancel(browser, organization, stripe_sandbox):
    topup = start(browser)
    for address in ("/billing/payments/", "/billing/"):
        page = browser.get(address).content.decode()
        assert "Incomplete" in page
        assert f"/billing/top-up/{topup.pk}/pay/" in page
        assert f"/billing/top-up/{topup.pk}/cancelled/" in page
    page = browser.get(f"/billing/top-up/{topup.pk}/cancelled/").content.decode()
    assert f"/billing/top-up/{topup.pk}/pay/" in page
    assert f'action="/billing/top-up/{topup.pk}/cancel/"' in page


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
    assert 'href="/billing/top-up/"' in page


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


# --- Refunds ---------------------------------------------------------------------------------------------------------


def confirm_of(page):
    """Return what the form on the page would send."""
    return {name: re.findall(rf'name="{name}" value="([^"]+)"', page)[0] for name in ("amount_cents", "token")}


def test_refund_page_says_what_happens_to_the_bonus(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    page = browser.get(f"/billing/payments/{topup.pk}/refund/").content.decode()
    assert "Refund $200.00?" in page
    rows = re.findall(r"<dt>([^<]+)</dt><dd class=\"number\">([^<]+)</dd>", page)
    assert rows == [
        ("Refund to your card", "$200.00"),
        ("Bonus returned with it", "$10.00"),
        ("Taken from your balance", "$210.00"),
        ("Available afterwards", "$1.00"),
    ]
    assert not Refund.objects.exists()


def test_refund_takes_exactly_what_the_page_said(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    ledger.settle(ledger.reserve(organization, amount_micros=51_000_001, reference="job:1"), actual_micros=51_000_001)
    before = balance_of(organization)
    address = f"/billing/payments/{topup.pk}/refund/"
    response = browser.get(address)
    assert response.context["leaving_micros"] > response.context["offer_micros"]
    answer = browser.post(address, confirm_of(response.content.decode()), follow=True)
    assert "goes back to the card" in answer.content.decode()
    assert before - balance_of(organization) == response.context["leaving_micros"]
    assert balance_of(organization) == response.context["staying_micros"]
    (refund,) = stripe_sandbox.all("refund")
    assert refund["amount"] * 10_000 == response.context["offer_micros"]


def test_refund_pressed_twice_is_one(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    address = f"/billing/payments/{topup.pk}/refund/"
    fields = confirm_of(browser.get(address).content.decode())
    assert [browser.post(address, fields).status_code for _ in range(2)] == [302, 302]
    assert len(stripe_sandbox.all("refund")) == 1


def test_refund_that_was_refused_is_not_called_made_when_sent_again(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    address = f"/billing/payments/{topup.pk}/refund/"
    fields = confirm_of(browser.get(address).content.decode())
    # The payment is refunded in Stripe's dashboard, and its event has not arrived yet.
    stripe_sandbox.refund(topup.payment_intent_id)
    for _ in range(2):
        page = browser.post(address, fields, follow=True).content.decode()
        assert "refused the refund" in page
        assert "goes back to the card" not in page


def test_money_that_was_spent_meanwhile_is_not_refunded_but_asked_again(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    address = f"/billing/payments/{topup.pk}/refund/"
    fields = confirm_of(browser.get(address).content.decode())
    ledger.settle(ledger.reserve(organization, amount_micros=50_000_000, reference="job:1"), actual_micros=50_000_000)
    response = browser.post(address, fields)
    assert response.status_code == 400
    assert "can be refunded" in response.content.decode()
    assert stripe_sandbox.all("refund") == []


def test_late_or_spent_payment_has_no_button_but_the_reason(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    TopUp.objects.filter(pk=topup.pk).update(paid_at=timezone.now() - timedelta(days=settings.REFUND_DAYS, minutes=1))
    page = browser.get(f"/billing/payments/{topup.pk}/refund/").content.decode()
    assert "This one is older" in page
    assert 'name="token"' not in page
    assert f"{topup.pk}/refund/" not in browser.get("/billing/payments/").content.decode()


def test_unpaid_topup_has_nothing_to_refund(browser, organization):
    topup = make_topup(organization)
    assert "was not paid" in browser.get(f"/billing/payments/{topup.pk}/refund/").content.decode()


def test_dead_stripe_leaves_the_refund_to_the_clock_and_says_so(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    address = f"/billing/payments/{topup.pk}/refund/"
    fields = confirm_of(browser.get(address).content.decode())
    with stripe_sandbox.failing("refused"):
        response = browser.post(address, fields, follow=True)
    assert 'class="note warn"' in response.content.decode()
    assert "on its way back" in response.content.decode()
    assert Wallet.objects.of(organization).get().available_micros == 1_000_000


@pytest.mark.parametrize("method", ["get", "post"])
def test_strangers_payment_cannot_be_refunded(browser, charlies, stripe_sandbox, method):
    topup = make_topup(charlies, state=TopUpState.PAID, paid_at=timezone.now())
    fields = {"amount_cents": "20000", "token": str(uuid.uuid4())} if method == "post" else {}
    assert getattr(browser, method)(f"/billing/payments/{topup.pk}/refund/", fields).status_code == 404
    assert not Refund.objects.exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_member_cannot_refund(bob, organization, client_of, method):
    topup = make_topup(organization, state=TopUpState.PAID, paid_at=timezone.now())
    fields = {"amount_cents": "20000", "token": str(uuid.uuid4())} if method == "post" else {}
    assert getattr(client_of(bob), method)(f"/billing/payments/{topup.pk}/refund/", fields).status_code == 403


def test_bonus_is_no_payment_in_the_book(browser, organization, stripe_sandbox):
    pay(browser, stripe_sandbox)
    payment, bonus = (
        Wallet.objects.of(organization).get().entries.get(kind=kind) for kind in (EntryKind.PAYMENT, EntryKind.BONUS)
    )
    assert (payment.amount_micros, bonus.amount_micros) == (200_000_000, 10_000_000)
