"""Two real connections whose transactions interleave must not deadlock (lock order: `billing.models.payments`)."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone

from accounts.errors import PaymentRequired
from accounts.models import Organization, User
from billing import automatic_topups, ledger, refunds, stripe_mapping, topups
from billing.models import EntryKind
from billing.models.payments import AutomaticTopUp, SavedCard, TopUp, TopUpState
from tests.billing.conftest import fund, money_of
from tests.billing.stripe_objects import intent_of, make_topup, refund_of, session_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def only_where_rows_are_locked(db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite lets one writer in at a time: there is nothing to meet")


class Other(threading.Thread):
    """A second thread with its own connection. It runs from a statement of the first one until it waits for a lock."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.act = act
        self.answer: Any = None
        self.error: Exception | None = None
        self.ready = threading.Event()
        self.backend: int | None = None

    def run(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                self.backend = cursor.fetchone()[0]
            self.ready.set()
            self.answer = self.act()
        except Exception as error:
            self.error = error
        finally:
            self.ready.set()
            connections.close_all()

    def go_as_far_as_possible(self) -> None:
        """Start the thread. Return when it has ended or waits for a lock of the first connection."""
        self.start()
        self.ready.wait()
        while self.is_alive() and not self._is_waiting():
            self.join(timeout=0.02)

    def end(self) -> Any:
        """Return the thread's result, or raise its exception."""
        self.join(timeout=30)
        assert not self.is_alive(), "they still wait"
        if self.error is not None:
            raise self.error
        return self.answer

    def _is_waiting(self) -> bool:
        query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(query, [self.backend])
            row = cursor.fetchone()
        return bool(row and row[0])


@contextmanager
def meeting(other: Other, *, at: str) -> Iterator[None]:
    """Start the other thread just before this connection's first statement that begins with `at`."""

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(at) and other.ident is None:
            other.go_as_far_as_possible()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield
    assert other.ident is not None, f"there was no {at}"


@pytest.fixture
def topup_settings(acme: Organization) -> AutomaticTopUp:
    """Settings of an organization with an empty balance that tops up by $200."""
    ledger.wallet_of(acme)
    SavedCard.objects.create(organization=acme, payment_method_id="pm_1")
    person = User.objects.create_user("owner@example.com")
    return automatic_topups.turn_on(
        acme, person=person, threshold_cents=500, amount_cents=20_000, monthly_cap_cents=90_000
    )


def begin_another(topup_settings: AutomaticTopUp) -> TopUp | None:
    """Do what a second clock does that found the organization due before the first one started a top-up."""
    return automatic_topups._begin(topup_settings, now=timezone.now())


def test_charge_that_is_credited_and_another_that_begins_do_not_wait_for_each_other(
    acme: Organization, topup_settings: AutomaticTopUp
) -> None:
    topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
    other = Other(lambda: begin_another(topup_settings))
    with meeting(other, at='UPDATE "billing_automatictopup"'):
        topups.fulfil(stripe_mapping.payment_of_intent(intent_of(topup)))
    assert other.end() is None
    assert list(TopUp.objects.values_list("state", flat=True)) == [TopUpState.PAID]
    assert ledger.wallet_of(acme).balance_micros == 210_000_000


def test_charge_that_is_declined_and_another_that_begins_do_not_wait_for_each_other(
    acme: Organization, topup_settings: AutomaticTopUp
) -> None:
    topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
    other = Other(lambda: begin_another(topup_settings))
    with meeting(other, at='SELECT "billing_automatictopup"'):
        automatic_topups.record_failure(
            stripe_mapping.payment_of_intent(intent_of(topup, status="requires_payment_method"))
        )
    assert other.end() is None
    assert list(TopUp.objects.values_list("state", flat=True)) == [TopUpState.FAILED]
    topup_settings.refresh_from_db()
    assert topup_settings.declines_count == 1


def test_work_is_not_admitted_on_money_that_a_refund_is_about_to_take(acme: Organization) -> None:
    """$200 and $10 of bonus expired, then $210 came in. They are available, so no expired money is given back."""
    topup = topups.fulfil(stripe_mapping.payment_of_checkout(session_of(make_topup(acme))))
    assert topup is not None
    wallet = ledger.wallet_of(acme)
    assert ledger.expire(acme, inactive_since=wallet.last_activity_at) is not None
    fund(acme, 210_000_000, reference="later")
    other = Other(lambda: ledger.reserve(acme, amount_micros=210_000_000, reference="job:1"))
    with meeting(other, at='SELECT "billing_entry"'):
        refunds.record(stripe_mapping.refund(refund_of(topup, 20_000)))
    with pytest.raises(PaymentRequired):
        other.end()
    assert money_of(acme) == (0, 0)
    assert not ledger.wallet_of(acme).is_frozen
    assert not acme.wallet.entries.filter(kind=EntryKind.CREDIT, reference__startswith="expired:").exists()
