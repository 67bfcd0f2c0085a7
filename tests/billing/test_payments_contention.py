"""The same payment reported by eight workers at once, as processes and as threads, on the configured database."""

from collections import Counter

import pytest

from accounts.models import Organization, User
from billing import automatic_topups, topups
from billing.models import Entry
from tests.billing import payments_contention
from tests.billing.conftest import money_of
from tests.billing.ledger.test_contention import KINDS
from tests.billing.stripe_objects import make_topup
from tests.contention import contend
from tests.stripe import StripeSandbox


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_fifty_deliveries_at_once_are_one_credit(acme: Organization, kind: str) -> None:
    make_topup(acme)
    seen = sum(contend(payments_contention.deliveries, acme, kind=kind), Counter())
    assert seen == {"200": 50}
    assert (money_of(acme), Entry.objects.of(acme).count()) == ((210_000_000, 0), 2)


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_webhooks_and_success_page_at_once_are_one_credit(acme: Organization, kind: str) -> None:
    make_topup(acme)
    seen = sum(contend(payments_contention.arrivals, acme, kind=kind), Counter())
    assert seen == {"200": 18, "paid": 6}
    assert (money_of(acme), Entry.objects.of(acme).count()) == ((210_000_000, 0), 2)


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_refund_and_job_never_both_get_the_money(acme: Organization, kind: str, stripe_sandbox: StripeSandbox) -> None:
    payer = User.objects.create_user("payer@example.com")
    topup = topups.start_checkout(
        acme, amount_cents=20_000, person=payer, save_card=False, success_url="http://a/", cancel_url="http://a/"
    ).topup
    stripe_sandbox.pay(topup.checkout_session_id)
    assert topups.confirm(topup).is_paid
    seen = sum(contend(payments_contention.refund_or_job, acme, kind=kind), Counter())
    refunded, admitted = (seen.get(name, 0) for name in ("refunded", "admitted"))
    assert refunded + admitted + seen.get("refused", 0) == 8
    balance_micros, held_micros = money_of(acme)
    assert (balance_micros, held_micros) == (210_000_000 - refunded * 52_500_000, admitted * 50_000_000)
    # Never more than there is, and nobody was refused while money was left.
    assert 0 <= balance_micros - held_micros < 52_500_000
    assert len(stripe_sandbox.all("refund")) == refunded


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_clocks_at_once_make_one_invoice(acme: Organization, kind: str, stripe_sandbox: StripeSandbox) -> None:
    payer = User.objects.create_user("payer@example.com")
    checkout = topups.start_checkout(
        acme, amount_cents=500, person=payer, save_card=True, success_url="http://a/", cancel_url="http://a/"
    ).topup
    stripe_sandbox.pay(checkout.checkout_session_id)
    stripe_sandbox.deliver()
    automatic_topups.turn_on(acme, person=payer, threshold_cents=1_000, amount_cents=20_000, monthly_cap_cents=20_000)
    assert automatic_topups.run() == 1
    seen = sum(contend(payments_contention.clocks, acme, kind=kind), Counter())
    # No "unmatched".
    assert seen == {"clock": 4, "linked": 4}
    # One for the checkout, one for the automatic top-up.
    made = [invoice for invoice in stripe_sandbox.all("invoice") if invoice["total"] == 20_000]
    assert [(invoice["status"], invoice["amount_paid"], len(invoice["lines"]["data"])) for invoice in made] == [
        ("paid", 20_000, 1)
    ]
    assert len(stripe_sandbox.all("charge")) == 2
    assert money_of(acme) == (215_000_000, 0)
