"""The pages that refund a payment, against the sandbox at Stripe's network edge."""

import re
import uuid
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from billing import ledger
from billing.models import EntryKind, Wallet
from billing.models.payments import TopUp, TopUpState
from billing.models.reversals import Refund
from tests.billing.pages.conftest import balance_of, pay
from tests.billing.stripe_objects import make_topup

pytestmark = pytest.mark.django_db


def confirm_of(page):
    """Return what the form on the page would send."""
    return {name: re.findall(rf'name="{name}" value="([^"]+)"', page)[0] for name in ("amount_cents", "token")}


@pytest.mark.long
def test_refund_page_says_what_happens_to_the_bonus(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    page = browser.get(f"/billing/payments/{topup.pk}/refund/").content.decode()
    assert "Refund $200.00?" in page
    rows = re.findall(r"<dt>([^<]+)</dt><dd class=\"number\">([^<]+)</dd>", page)
    assert rows == [
        ("Refund to the payment method used", "$200.00"),
        ("Bonus returned with it", "$10.00"),
        ("Taken from your balance", "$210.00"),
        ("Available afterwards", "$1.00"),
    ]
    assert not Refund.objects.exists()


@pytest.mark.long
def test_refund_takes_exactly_what_the_page_said(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    ledger.settle(ledger.reserve(organization, amount_micros=51_000_001, reference="job:1"), actual_micros=51_000_001)
    before = balance_of(organization)
    address = f"/billing/payments/{topup.pk}/refund/"
    response = browser.get(address)
    assert response.context["leaving_micros"] > response.context["offer_micros"]
    answer = browser.post(address, confirm_of(response.content.decode()), follow=True)
    assert "goes back to the payment method that was used" in answer.content.decode()
    assert before - balance_of(organization) == response.context["leaving_micros"]
    assert balance_of(organization) == response.context["staying_micros"]
    (refund,) = stripe_sandbox.all("refund")
    assert refund["amount"] * 10_000 == response.context["offer_micros"]


@pytest.mark.long
def test_refund_pressed_twice_is_one(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    address = f"/billing/payments/{topup.pk}/refund/"
    fields = confirm_of(browser.get(address).content.decode())
    assert [browser.post(address, fields).status_code for _ in range(2)] == [302, 302]
    assert len(stripe_sandbox.all("refund")) == 1


@pytest.mark.long
def test_refund_that_was_refused_is_not_called_made_when_sent_again(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    address = f"/billing/payments/{topup.pk}/refund/"
    fields = confirm_of(browser.get(address).content.decode())
    # The payment is refunded in Stripe's dashboard, and its event has not arrived yet.
    stripe_sandbox.refund(topup.payment_intent_id)
    for _ in range(2):
        page = browser.post(address, fields, follow=True).content.decode()
        assert "refused the refund" in page
        assert "goes back to the payment method that was used" not in page


@pytest.mark.long
def test_money_that_was_spent_meanwhile_is_not_refunded_but_asked_again(browser, organization, stripe_sandbox):
    topup = pay(browser, stripe_sandbox)
    address = f"/billing/payments/{topup.pk}/refund/"
    fields = confirm_of(browser.get(address).content.decode())
    ledger.settle(ledger.reserve(organization, amount_micros=50_000_000, reference="job:1"), actual_micros=50_000_000)
    response = browser.post(address, fields)
    assert response.status_code == 400
    assert "can be refunded" in response.content.decode()
    assert stripe_sandbox.all("refund") == []


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
def test_bonus_is_no_payment_in_the_book(browser, organization, stripe_sandbox):
    pay(browser, stripe_sandbox)
    payment, bonus = (
        Wallet.objects.of(organization).get().entries.get(kind=kind) for kind in (EntryKind.PAYMENT, EntryKind.BONUS)
    )
    assert (payment.amount_micros, bonus.amount_micros) == (200_000_000, 10_000_000)
