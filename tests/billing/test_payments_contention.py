"""The same payment reported by eight workers at once, as processes and as threads, on the configured database."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from accounts.models import Organization, User
from billing import automatic_topups, topups
from tests.billing.ledger.test_contention import KINDS
from tests.billing.stripe_objects import make_topup
from tests.shared_database import shared_database
from tests.stripe import StripeSandbox

SCRIPT = Path(__file__).with_name("payments_contention.py")


def contend(scenario: str, *, kind: str, organization: Organization, folder: Path) -> dict[str, Any]:
    """Run the scenario on a database that the workers share, and return its report."""
    done = subprocess.run(
        [sys.executable, SCRIPT, scenario, kind, str(organization.pk)],
        # The data folder holds the sandbox's file too.
        env={**os.environ, **shared_database(folder), "VOXSITE_DATA_DIR": str(folder)},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@KINDS
@pytest.mark.django_db(transaction=True)
def test_fifty_deliveries_at_once_are_one_credit(acme: Organization, kind: str, tmp_path: Path) -> None:
    make_topup(acme)
    report = contend("deliveries", kind=kind, organization=acme, folder=tmp_path)
    assert report["seen"] == {"200": 50}
    assert (report["balance"], report["entries"], report["faults"]) == (210_000_000, 2, [])


@KINDS
@pytest.mark.django_db(transaction=True)
def test_webhooks_and_success_page_at_once_are_one_credit(acme: Organization, kind: str, tmp_path: Path) -> None:
    make_topup(acme)
    report = contend("arrivals", kind=kind, organization=acme, folder=tmp_path)
    assert report["seen"] == {"200": 18, "paid": 6}
    assert (report["balance"], report["entries"], report["faults"]) == (210_000_000, 2, [])


@KINDS
@pytest.mark.django_db(transaction=True)
def test_refund_and_job_never_both_get_the_money(acme: Organization, kind: str, tmp_path: Path) -> None:
    payer = User.objects.create_user("payer@example.com")
    settings.STRIPE_SANDBOX_FILE, before = tmp_path / "stripe-sandbox.sqlite3", settings.STRIPE_SANDBOX_FILE
    try:
        sandbox = StripeSandbox(settings.STRIPE_SANDBOX_FILE)
        topup = topups.start_checkout(
            acme, amount_cents=20_000, person=payer, save_card=False, success_url="http://a/", cancel_url="http://a/"
        ).topup
        sandbox.pay(topup.checkout_session_id)
        assert topups.confirm(topup).is_paid
        report = contend("refund_or_job", kind=kind, organization=acme, folder=tmp_path)
        refunded, admitted = (report["seen"].get(name, 0) for name in ("refunded", "admitted"))
        assert refunded + admitted + report["seen"].get("refused", 0) == 8
        assert (report["balance"], report["held"]) == (210_000_000 - refunded * 52_500_000, admitted * 50_000_000)
        assert report["balance"] >= report["held"]
        # Nobody was refused while money was left.
        assert report["balance"] - report["held"] < 52_500_000
        assert len(sandbox.all("refund")) == refunded
        assert report["faults"] == []
    finally:
        settings.STRIPE_SANDBOX_FILE = before


@KINDS
@pytest.mark.django_db(transaction=True)
def test_clocks_at_once_make_one_invoice(acme: Organization, kind: str, tmp_path: Path) -> None:
    payer = User.objects.create_user("payer@example.com")
    settings.STRIPE_SANDBOX_FILE, before = tmp_path / "stripe-sandbox.sqlite3", settings.STRIPE_SANDBOX_FILE
    try:
        sandbox = StripeSandbox(settings.STRIPE_SANDBOX_FILE)
        checkout = topups.start_checkout(
            acme, amount_cents=500, person=payer, save_card=True, success_url="http://a/", cancel_url="http://a/"
        ).topup
        sandbox.pay(checkout.checkout_session_id)
        sandbox.deliver()
        automatic_topups.turn_on(
            acme, person=payer, threshold_cents=1_000, amount_cents=20_000, monthly_cap_cents=20_000
        )
        assert automatic_topups.run() == 1
        report = contend("clocks", kind=kind, organization=acme, folder=tmp_path)
        assert report["seen"] == {"clock": 4, "linked": 4, "unmatched": 0}
        # One for the checkout, one for the automatic top-up.
        made = [invoice for invoice in sandbox.all("invoice") if invoice["total"] == 20_000]
        assert [(invoice["status"], invoice["amount_paid"], len(invoice["lines"]["data"])) for invoice in made] == [
            ("paid", 20_000, 1)
        ]
        assert len(sandbox.all("charge")) == 2
        assert (report["balance"], report["faults"]) == (215_000_000, [])
    finally:
        settings.STRIPE_SANDBOX_FILE = before
