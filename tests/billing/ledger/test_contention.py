"""Eight processes, then eight threads, at one wallet: on PostgreSQL or on SQLite as a file, as configured."""

from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import api_keys
from accounts.models import Organization
from billing import ledger
from billing.models import Entry, Wallet
from tests.billing.conftest import fund, money_of
from tests.billing.ledger import contention
from tests.contention import contend

KINDS = pytest.mark.parametrize("kind", ["processes", "threads"])


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_burst_admits_exactly_what_the_money_covers(acme: Organization, kind: str) -> None:
    fund(acme, 100 * 1_000 + 999)
    seen = sum(contend(contention.burst, acme, kind=kind), Counter())
    assert seen == {"admitted": 100, "refused": 300}
    assert money_of(acme) == (100_999, 100_000)


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_quarrel_has_each_effect_once(acme: Organization, kind: str) -> None:
    seen = sum(contend(contention.quarrel, acme, kind=kind), Counter())
    assert seen.get("charged", 0) + seen.get("released", 0) == 15
    assert set(seen) <= {"charged", "released", "late"}
    assert money_of(acme) == (15_000 - 600 * seen.get("charged", 0), 0)
    assert Entry.objects.of(acme).count() == 15 + seen.get("charged", 0)


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_sessions_that_are_extended_while_they_end_are_charged_once_and_within_the_limit(
    acme: Organization, kind: str
) -> None:
    fund(acme, 100_000)
    ledger.set_monthly_limit(acme, limit_micros=2_000)
    seen = sum(contend(contention.live, acme, kind=kind), Counter())
    assert set(seen) <= {"settled", "charged_micros", "extended", "refused", "late"}
    assert 1 <= seen["settled"] <= 10
    assert 100 * seen["settled"] <= seen["charged_micros"] <= 400 * seen["settled"]
    balance_micros, held_micros = money_of(acme)
    assert balance_micros == 100_000 - seen["charged_micros"]
    assert seen["charged_micros"] + held_micros <= 2_000
    assert Entry.objects.of(acme).count() == 1 + seen["settled"]


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_five_cents_admit_exactly_what_they_cover_of_200_submissions(acme: Organization, kind: str) -> None:
    fund(acme, 50_000)
    seen = sum(contend(contention.nickel, acme, kind=kind), Counter())
    # 119 times 417 micro-dollars are 49,623: 377 are left, 40 too few for one more.
    assert seen == {"admitted": 119, "402 insufficient_balance, 40 missing": 81}
    assert money_of(acme) == (50_000, 49_623)


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_limit_of_a_key_admits_exactly_what_it_covers_of_200(acme: Organization, kind: str) -> None:
    fund(acme, 1_000_000)
    api_keys.issue(acme, name="capped", by=None, monthly_limit_micros=50_900)
    seen = sum(contend(contention.capped, acme, kind=kind), Counter())
    assert seen == {"admitted": 50, "402 spend_limit_reached, 900 left": 150}
    assert money_of(acme) == (950_000, 0)


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_balance_expires_or_is_used_and_never_both(acme: Organization, kind: str) -> None:
    fund(acme, 10_000)
    Wallet.objects.of(acme).update(last_activity_at=timezone.now() - timedelta(days=365))
    seen = sum(contend(contention.expiry_race, acme, kind=kind), Counter())
    won = {
        (4, 0, 0): (10_000, 4_000),
        (0, 4, 1): (0, 0),
    }
    seen = tuple(seen.get(name, 0) for name in ("admitted", "refused", "expired"))
    assert won[seen] == money_of(acme)
