"""Completions in the database, without a network."""

from datetime import timedelta

import pytest
import time_machine
from django.db.models.functions import Now
from django.utils import timezone

from accounts import api_keys
from accounts.errors import BadRequest, NotConfigured, PaymentRequired, RateLimited
from apex import catalogue, completions
from apex.models import Completion, State
from apex.types import Kept, Order, Outcome
from apex.usage_meter import Measure, Source, Usage
from billing import ledger
from billing.models import Entry, Hold, HoldState, Wallet

MEASURE = Measure(Usage(18, 10), Source.UPSTREAM)


@pytest.fixture(autouse=True)
def with_an_upstream(settings):
    settings.APEX_UPSTREAMS = [{"name": "u", "base_url": "http://u", "api_key": "", "model_names": {}}]


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="test", by=None)[1]


def order(key="", **fields):
    values = {"model": catalogue.find("apex-latest"), "prompt_tokens": 20, "completion_tokens": 100, **fields}
    return Order(key=key, **values)


def begin(*orders):
    return completions.begin(orders)


def outcome(ticket, measure=MEASURE, **fields):
    return Outcome(ticket=ticket, measure=measure, **{"finish": "stop", "latency_ms": 5, **fields})


def grow_silent(*ids, seconds):
    """Let so much time pass since the last sign of these, or of all."""
    rows = Completion.objects.filter(pk__in=ids) if ids else Completion.objects.all()
    rows.update(seen_at=Now() - timedelta(seconds=seconds))


def wallet(organization):
    return Wallet.objects.get(organization=organization)


def set_balance(organization, micros):
    ledger.settle(
        ledger.reserve(organization, amount_micros=wallet(organization).available_micros - micros, reference="x"),
        actual_micros=10**9,
    )


def test_admission_holds_the_most_that_it_can_cost(organization, key):
    (begun,) = begin(order(key, choice_count=2))
    # 20 tokens of prompt and 2 times 100 of completion.
    assert wallet(organization).held_micros == 6 + 90
    assert begun.ticket.completion_tokens == 100
    row = Completion.objects.get()
    assert (row.organization, row.state, row.model) == (organization, State.RUNNING, "apex-latest")
    assert row.hold.reference == row.reference == f"chat:{row.pk}"
    assert begun.allowance.remaining == 499


@pytest.mark.parametrize("prompt_tokens", range(20, 30))
def test_rounding_lowers_no_limit_that_is_paid_for(organization, key, prompt_tokens):
    (begun,) = begin(order(key, prompt_tokens=prompt_tokens))
    assert begun.ticket.completion_tokens == 100


def test_small_balance_lowers_the_limit(organization, key):
    set_balance(organization, 16)
    (begun,) = begin(order(key))
    # 16 - 6 micro-dollars pay for 22 tokens.
    assert begun.ticket.completion_tokens == 22
    assert wallet(organization).held_micros == 16


def test_balance_that_is_too_small_is_told_of(organization, key):
    set_balance(organization, 12)
    (begun,) = begin(order(key))
    assert isinstance(begun.error, PaymentRequired)
    # 20 of prompt, 16 of completion.
    assert (begun.error.data["required_micros"], begun.error.data["available_micros"]) == (13, 12)
    assert not Completion.objects.exists()
    assert wallet(organization).held_micros == 0


def test_monthly_limit_of_the_key_counts(organization):
    _, key = api_keys.issue(organization, name="limited", by=None, monthly_limit_micros=20)
    (first,) = begin(order(key))
    assert wallet(organization).held_micros == 20
    assert first.ticket.completion_tokens == 31
    (second,) = begin(order(key))
    assert second.error.type == "spend_limit_reached"


def test_gathered_orders_are_judged_one_by_one(organization, key):
    set_balance(organization, 60)
    broken = Order(key=key, fault=BadRequest("no"))
    results = begin(order(key), broken, order(key), order(key))
    assert [result.ticket is not None for result in results] == [True, False, False, False]
    assert results[1].error is broken.fault
    assert isinstance(results[2].error, PaymentRequired)
    assert [result.allowance.remaining for result in results] == [499, 498, 497, 496]
    assert wallet(organization).held_micros == 51


def test_unknown_key_is_told_before_a_fault(db):
    (begun,) = begin(Order(key="vxp_live_no", fault=BadRequest("no")))
    assert begun.error.http_status == 401
    assert begun.allowance is None


def test_rate_limit_is_told_before_a_fault(settings, organization, key):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "requests": "3/minute"}
    from accounts.gate import limits

    limits._limit.cache_clear()
    try:
        results = begin(*[order(key) for _ in range(5)])
        assert [isinstance(result.error, RateLimited) for result in results] == [False] * 3 + [True] * 2
    finally:
        limits._limit.cache_clear()


def test_without_an_upstream_nothing_is_held(settings, organization, key):
    settings.APEX_UPSTREAMS = []
    (begun,) = begin(order(key))
    assert isinstance(begun.error, NotConfigured)
    assert (begun.error.http_status, begun.error.message) == (503, "The chat endpoint is not configured.")
    assert not Hold.objects.exists()


def test_organization_has_no_more_open_than_it_may(settings, organization, key):
    settings.APEX_MAX_OPEN = 2
    wrong = Order(key=key, fault=BadRequest("no"))
    results = begin(order(key), wrong, order(key), order(key))
    assert [result.ticket is not None for result in results] == [True, False, True, False]
    assert results[1].error is wrong.fault
    assert (results[3].error.type, results[3].error.headers["Retry-After"]) == ("too_many_open", "1")
    assert wallet(organization).held_micros == 51 * 2
    refused = completions.begin_for(organization, order=order(), api_key=None)
    assert refused.error.type == "too_many_open"
    assert Completion.objects.count() == 2


def test_end_charges_what_was_used(organization, key):
    (begun,) = begin(order(key))
    balance = wallet(organization).balance_micros
    ended = outcome(begun.ticket, upstream="u", first_token_ms=3)
    assert completions.end([ended]) == [10]
    assert wallet(organization).held_micros == 0
    assert balance - wallet(organization).balance_micros == 10
    entry = Entry.objects.get(reference=f"chat:{begun.ticket.completion_id}")
    assert entry.details["api_key_id"] == str(begun.ticket.api_key.pk)
    assert (entry.details["model"], entry.details["prompt_tokens"], entry.details["completion_tokens"]) == (
        "apex-latest",
        18,
        10,
    )
    row = Completion.objects.get()
    assert (row.state, row.cost_micros, row.source, row.finish, row.upstream) == (
        "charged",
        10,
        "upstream",
        "stop",
        "u",
    )
    assert (row.first_token_ms, row.latency_ms) == (3, 5)


def test_ending_twice_charges_once(organization, key):
    (begun,) = begin(order(key))
    completions.end([outcome(begun.ticket)])
    completions.end([outcome(begun.ticket)])
    completions.end([outcome(begun.ticket, Measure(Usage(50, 50), Source.COUNTED))])
    completions.end([outcome(begun.ticket, None)])
    assert [entry.amount_micros for entry in Entry.objects.filter(kind="usage")] == [-10]
    assert Completion.objects.get().cost_micros == 10
    assert ledger.verify(wallet(organization)) == []


def test_more_than_was_held_is_charged_as_far_as_the_balance_bears(organization, key):
    (first, second) = begin(order(key), order(key))
    used = Measure(Usage(400, 100), Source.UPSTREAM)
    assert completions.end([outcome(first.ticket, used)]) == [165]
    set_balance(organization, 30)
    assert completions.end([outcome(second.ticket, used)]) == [51 + 30]
    assert Entry.objects.get(reference=f"chat:{second.ticket.completion_id}").details["uncut_micros"] == 165
    assert ledger.verify(wallet(organization)) == []


def test_completion_whose_hold_bears_nothing_ends_all_the_same(organization, key):
    (begun,) = begin(order(key, prompt_tokens=0, completion_tokens=1))
    assert begun.ticket.hold.amount_micros == 0
    set_balance(organization, 0)
    assert completions.end([outcome(begun.ticket)]) == [0]
    assert Completion.objects.get().state == State.RELEASED
    assert Hold.objects.get(reference__startswith="chat:").state == HoldState.RELEASED


@pytest.mark.parametrize("measure", [None, Measure(Usage(0, 0), Source.UPSTREAM)])
def test_what_produced_nothing_is_released(organization, key, measure):
    (begun,) = begin(order(key))
    assert completions.end([outcome(begun.ticket, measure)]) == [0]
    assert Hold.objects.get().state == HoldState.RELEASED
    assert Completion.objects.get().state == State.RELEASED
    assert not Entry.objects.filter(kind="usage").exists()


def test_sweeper_releases_what_nobody_relays_any_more(organization, key):
    dead, alive, ended = (result.ticket for result in begin(order(key), order(key), order(key)))
    completions.end([outcome(ended)])
    assert completions.sweep() == 0
    grow_silent(seconds=31)
    assert completions.keep_alive([alive.completion_id, ended.completion_id]) == 1
    assert completions.sweep() == 1
    assert completions.sweep() == 0
    states = {row.pk: (row.state, row.finish) for row in Completion.objects.all()}
    assert states == {
        dead.completion_id: ("released", "process_died"),
        alive.completion_id: ("running", ""),
        ended.completion_id: ("charged", "stop"),
    }
    assert wallet(organization).held_micros == alive.hold.amount_micros
    # A process that was only slow finds that it is too late, and charges nothing.
    assert completions.end([outcome(dead)]) == [0]
    assert Completion.objects.get(pk=dead.completion_id).state == State.RELEASED
    assert ledger.verify(wallet(organization)) == []


def test_time_of_silence_is_neither_shorter_nor_longer_than_the_setting(organization, key, settings):
    begin(order(key))
    grow_silent(seconds=settings.APEX_SILENT_SECONDS - 10)
    assert completions.sweep() == 0
    grow_silent(seconds=settings.APEX_SILENT_SECONDS + 1)
    assert completions.sweep() == 1


@pytest.mark.parametrize("hours", [-1, 1])
def test_clocks_that_differ_release_nothing_that_lives(organization, key, hours):
    """The hosts of web and clock may be apart by any time: only the database's clock counts."""
    another = timezone.now() + timedelta(hours=hours)
    with time_machine.travel(another):
        begun, seen = (result.ticket for result in begin(order(key), order(key)))
        site_s_own = completions.begin_for(organization, order=order(), api_key=None).ticket
    grow_silent(seen.completion_id, seconds=60)
    with time_machine.travel(another):
        completions.keep_alive([seen.completion_id])
    assert completions.sweep() == 0
    with time_machine.travel(another):
        assert completions.sweep() == 0
        grow_silent(begun.completion_id, seconds=31)
        assert completions.sweep() == 1
    grow_silent(site_s_own.completion_id, seconds=31)
    assert completions.sweep() == 1


def test_sweeper_goes_on_after_a_wallet_that_is_broken(organization, key):
    (broken,), (whole,) = begin(order(key)), begin(order(key))
    # Less is held in all than this one holds: giving it back breaks a constraint.
    Hold.objects.filter(pk=broken.ticket.hold.pk).update(amount_micros=10**6)
    grow_silent(seconds=60)
    assert completions.sweep() == 1
    states = dict(Completion.objects.values_list("pk", "state"))
    assert states == {broken.ticket.completion_id: "running", whole.ticket.completion_id: "released"}


def test_sweeper_leaves_a_completion_that_was_seen_after_it_looked(organization, key):
    (begun,) = begin(order(key))
    grow_silent(seconds=60)
    row = Completion.objects.get()
    completions.keep_alive([row.pk])
    assert not completions._release_stale(row)
    assert Hold.objects.get().state == HoldState.OPEN
    assert Completion.objects.get().state == State.RUNNING
    assert begun.ticket is not None


def test_abandoned_idempotency_key_is_not_in_the_way_of_the_money(organization, key):
    from accounts.models import IdempotencyRecord

    (begun,) = begin(order(key, idempotency_key="k", fingerprint="f"))
    (again,) = begin(order(key, idempotency_key="k", fingerprint="f"))
    assert again.error.type == "idempotency_key_in_use"
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(days=1))
    (taken_over,) = begin(order(key, idempotency_key="k", fingerprint="f"))
    kept = Kept(text="first", is_stream=False)
    assert completions.end([outcome(begun.ticket, kept=kept)]) == [10]
    assert completions.end([outcome(taken_over.ticket, kept=Kept("second", is_stream=False))]) == [10]
    (replayed,) = begin(order(key, idempotency_key="k", fingerprint="f"))
    assert replayed.kept == Kept("second", is_stream=False, charged_micros=10)


def test_refused_order_claims_no_idempotency_key(organization, key):
    set_balance(organization, 0)
    (refused,) = begin(order(key, idempotency_key="k", fingerprint="f"))
    assert isinstance(refused.error, PaymentRequired)
    ledger.credit(organization, amount_micros=1000, kind="credit", reference="more")
    (begun,) = begin(order(key, idempotency_key="k", fingerprint="f"))
    assert begun.ticket is not None
