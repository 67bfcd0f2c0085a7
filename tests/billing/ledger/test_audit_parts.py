"""Changes that bypassed the ledger are found among what is new, and among old rows when they are read again."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from accounts import api_keys
from accounts.models import Organization
from billing import ledger
from billing.ledger import audit_parts
from billing.models import Entry, EntryKind, Hold, MonthlySpend
from tests.billing.append_only import triggers_suspended
from tests.billing.conftest import fund
from tests.billing.ledger.test_audit import BREAKS, busy  # noqa: F401 - a fixture

LONG_AGO = datetime(2026, 1, 20, 12, tzinfo=UTC)
BEGINNING = ledger.Place()


@pytest.fixture
def old_ledger(acme: Organization, rival: Organization) -> Organization:
    """Work of twelve days, long ago, and some of today."""
    key, _ = api_keys.issue(acme, name="test", by=None)
    for day in range(12):
        with time_machine.travel(LONG_AGO + timedelta(days=day), tick=False):
            fund(rival, 10)
            fund(acme, 100)
            ledger.settle(ledger.reserve(acme, amount_micros=9, reference=f"old:{day}", api_key=key), actual_micros=8)
    fund(acme, 100)
    ledger.settle(ledger.reserve(acme, amount_micros=9, reference="new:1", api_key=key), actual_micros=8)
    return acme


@pytest.mark.long
@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("name", BREAKS)
def test_break_of_today_is_found(name: str) -> None:
    assert list(ledger.recent_faults(now=timezone.now())) == []
    break_it, _ = BREAKS[name]
    break_it()
    assert list(ledger.recent_faults(now=timezone.now()))


@pytest.mark.long
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_old_entry_that_was_changed_is_found_when_it_is_read_again(old_ledger: Organization, step: int) -> None:
    assert ledger.reread(BEGINNING, seconds=60, rows_of_step=step) == ([], BEGINNING)
    with triggers_suspended():
        Entry.objects.filter(reference="old:5").update(amount_micros=-7)
    # It lies before what the night looks at, and no balance after it was changed.
    assert list(ledger.recent_faults(now=timezone.now())) == []
    found, place = ledger.reread(BEGINNING, seconds=60, rows_of_step=step)
    assert place == BEGINNING
    assert any("with the entry before it, it is" in fault for fault in found)
    assert any("was charged 8; the book has 7 for it." in fault for fault in found)
    assert list(ledger.faults())


def test_old_row_that_was_removed_is_found(old_ledger: Organization) -> None:
    with triggers_suspended():
        Entry.objects.filter(reference="old:5").delete()
    Hold.objects.filter(reference="old:7").delete()
    found, _ = ledger.reread(BEGINNING, seconds=60)
    assert len(found) == 3
    assert "which no hold was settled for" in " ".join(found)
    assert "the book has 0 for it" in " ".join(found)


@pytest.mark.long
def test_reading_again_stops_in_time_and_goes_on_where_it_stopped(old_ledger: Organization) -> None:
    with triggers_suspended():
        Entry.objects.filter(kind=EntryKind.USAGE).update(balance_after_micros=1)
    faults_of_rounds, place = [], BEGINNING
    for _ in range(100):
        found, place = ledger.reread(place, seconds=0, rows_of_step=4)
        faults_of_rounds.append({fault.split()[1] for fault in found})
        if place == BEGINNING:
            break
    assert len(faults_of_rounds) >= Entry.objects.count() // 4
    wrong = {str(pk) for pk in Entry.objects.filter(kind=EntryKind.USAGE).values_list("pk", flat=True)}
    assert wrong <= set().union(*faults_of_rounds)


@pytest.mark.long
def test_sum_of_a_past_month_is_compared_by_the_whole_check_alone(old_ledger: Organization) -> None:
    MonthlySpend.objects.filter(month=LONG_AGO.date().replace(day=1), api_key=None).update(spent_micros=1)
    assert list(ledger.recent_faults(now=timezone.now())) == []
    (fault,) = ledger.faults()
    assert "its holds sum to" in fault


@pytest.mark.long
@pytest.mark.parametrize("days", range(-1, 14))
def test_first_row_of_a_moment_is_found_by_halving(old_ledger: Organization, days: int) -> None:
    with triggers_suspended():
        Entry.objects.filter(reference__in=["old:3", "old:4", "old:8"]).delete()
    moment = LONG_AGO + timedelta(days=days) - timedelta(hours=1)
    last_id = audit_parts._last_id_before(Entry.objects.all(), moment)
    assert not Entry.objects.filter(created_at__gte=moment, id__lte=last_id).exists()
    assert not Entry.objects.filter(created_at__lt=moment, id__gt=last_id).exists()


def test_empty_ledger_has_no_faults(db: None) -> None:
    assert list(ledger.recent_faults(now=timezone.now())) == []
    assert ledger.reread(BEGINNING, seconds=1) == ([], BEGINNING)
