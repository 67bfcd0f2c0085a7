"""Eight processes, then eight threads, at one wallet: on PostgreSQL or on SQLite as a file, as configured."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts import api_keys
from accounts.models import Organization
from billing import ledger
from billing.models import Wallet
from tests.billing.conftest import fund
from tests.shared_database import shared_database

SCRIPT = Path(__file__).with_name("contention.py")
KINDS = pytest.mark.parametrize("kind", ["processes", "threads"])


def contend(scenario: str, *, kind: str, organization: Organization, folder: Path) -> dict[str, Any]:
    """Run the scenario on a database that the workers share, and return its report."""
    done = subprocess.run(
        [sys.executable, SCRIPT, scenario, kind, str(organization.pk)],
        env={**os.environ, **shared_database(folder)},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    print(connection.vendor, kind, scenario, report)
    return report


@KINDS
@pytest.mark.django_db(transaction=True)
def test_burst_admits_exactly_what_the_money_covers(acme: Organization, kind: str, tmp_path: Path) -> None:
    fund(acme, 100 * 1_000 + 999)
    report = contend("burst", kind=kind, organization=acme, folder=tmp_path)
    assert report["seen"] == {"admitted": 100, "refused": 300}
    assert (report["balance"], report["held"]) == (100_999, 100_000)
    assert report["faults"] == []


@KINDS
@pytest.mark.django_db(transaction=True)
def test_quarrel_has_each_effect_once(acme: Organization, kind: str, tmp_path: Path) -> None:
    report = contend("quarrel", kind=kind, organization=acme, folder=tmp_path)
    seen = report["seen"]
    assert seen.get("charged", 0) + seen.get("released", 0) == 15
    assert set(seen) <= {"charged", "released", "late"}
    assert (report["balance"], report["held"]) == (15_000 - 600 * seen.get("charged", 0), 0)
    assert report["entries"] == 15 + seen.get("charged", 0)
    assert report["faults"] == []


@KINDS
@pytest.mark.django_db(transaction=True)
def test_sessions_that_are_extended_while_they_end_are_charged_once_and_within_the_limit(
    acme: Organization, kind: str, tmp_path: Path
) -> None:
    fund(acme, 100_000)
    ledger.set_monthly_limit(acme, limit_micros=2_000)
    report = contend("live", kind=kind, organization=acme, folder=tmp_path)
    seen = report["seen"]
    assert set(seen) <= {"settled", "charged_micros", "extended", "refused", "late"}
    assert 1 <= seen["settled"] <= 10
    assert 100 * seen["settled"] <= seen["charged_micros"] <= 400 * seen["settled"]
    assert report["balance"] == 100_000 - seen["charged_micros"]
    assert seen["charged_micros"] + report["held"] <= 2_000
    assert report["entries"] == 1 + seen["settled"]
    assert report["faults"] == []


@KINDS
@pytest.mark.django_db(transaction=True)
def test_five_cents_admit_exactly_what_they_cover_of_200_submissions(
    acme: Organization, kind: str, tmp_path: Path
) -> None:
    fund(acme, 50_000)
    report = contend("nickel", kind=kind, organization=acme, folder=tmp_path)
    # 119 times 417 micro-dollars are 49,623: 377 are left, 40 too few for one more.
    assert report["seen"] == {"admitted": 119, "402 insufficient_balance, 40 missing": 81}
    assert (report["balance"], report["held"]) == (50_000, 49_623)
    assert report["faults"] == []


@KINDS
@pytest.mark.django_db(transaction=True)
def test_limit_of_a_key_admits_exactly_what_it_covers_of_200(acme: Organization, kind: str, tmp_path: Path) -> None:
    fund(acme, 1_000_000)
    api_keys.issue(acme, name="capped", by=None, monthly_limit_micros=50_900)
    report = contend("capped", kind=kind, organization=acme, folder=tmp_path)
    assert report["seen"] == {"admitted": 50, "402 spend_limit_reached, 900 left": 150}
    assert (report["balance"], report["held"]) == (950_000, 0)
    assert report["faults"] == []


@KINDS
@pytest.mark.django_db(transaction=True)
def test_balance_expires_or_is_used_and_never_both(acme: Organization, kind: str, tmp_path: Path) -> None:
    fund(acme, 10_000)
    Wallet.objects.of(acme).update(last_activity_at=timezone.now() - timedelta(days=365))
    report = contend("expiry_race", kind=kind, organization=acme, folder=tmp_path)
    won = {
        (4, 0, 0): (10_000, 4_000),
        (0, 4, 1): (0, 0),
    }
    seen = tuple(report["seen"].get(name, 0) for name in ("admitted", "refused", "expired"))
    assert won[seen] == (report["balance"], report["held"])
    assert report["faults"] == []
