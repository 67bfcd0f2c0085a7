"""Completions in the database, without a network."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts import api_keys, tokens
from accounts.errors import BadRequest, InsufficientScope, NotConfigured, PaymentRequired, RateLimited, Unauthorized
from accounts.gate import idempotency
from accounts.models import IdempotencyRecord
from apex import catalogue, completion_sql, completions
from apex.models import Completion, State
from apex.types import AdmissionRequest, CompletionResult, StoredAnswer
from apex.usage_meter import BilledUsage, Source, Usage
from billing import ledger
from billing.models import ChargeTag, Entry, Hold, HoldState, TokenSpend, Wallet
from tests.contention import wait_until_one_waits_for_us

BILLED = BilledUsage(Usage(18, 10), Source.UPSTREAM)


@pytest.fixture(autouse=True)
def with_an_upstream(settings):
    settings.APEX_UPSTREAMS = [{"name": "u", "base_url": "http://u", "api_key": "", "model_names": {}}]


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="test", by=None)[1]


def request_with(key="", **fields):
    values = {"model": catalogue.find("apex-latest"), "prompt_tokens": 20, "completion_tokens": 100, **fields}
    return AdmissionRequest(key=key, **values)


def begin(*requests):
    return completions.begin(requests)


def result_of(completion, billed=BILLED, **fields):
    return CompletionResult(completion=completion, billed=billed, **{"finish": "stop", "latency_ms": 5, **fields})


def age_heartbeats(*ids, seconds):
    """Make the last heartbeat of these completions, or of all, this many seconds old."""
    rows = Completion.objects.filter(pk__in=ids) if ids else Completion.objects.all()
    rows.update(seen_at=Now() - timedelta(seconds=seconds))


def wallet(organization):
    return Wallet.objects.get(organization=organization)


def set_balance(organization, micros):
    ledger.settle(
        ledger.reserve(organization, amount_micros=wallet(organization).available_micros - micros, reference="x"),
        actual_micros=10**9,
    )


def test_admission_holds_the_maximum_price(organization, key):
    (admission,) = begin(request_with(key, choice_count=2))
    # 20 tokens of prompt and 2 times 100 of completion.
    assert wallet(organization).held_micros == 6 + 90
    assert admission.completion.completion_tokens == 100
    row = Completion.objects.get()
    assert (row.organization, row.state, row.model) == (organization, State.RUNNING, "apex-latest")
    assert row.hold.reference == row.reference == f"chat:{row.pk}"
    assert admission.allowance.remaining == 499


@pytest.mark.long
@pytest.mark.parametrize("prompt_tokens", range(20, 30))
def test_rounding_does_not_lower_a_paid_limit(organization, key, prompt_tokens):
    (admission,) = begin(request_with(key, prompt_tokens=prompt_tokens))
    assert admission.completion.completion_tokens == 100


def test_small_balance_lowers_the_limit(organization, key):
    set_balance(organization, 16)
    (admission,) = begin(request_with(key))
    # 16 - 6 micro-dollars pay for 22 tokens.
    assert admission.completion.completion_tokens == 22
    assert wallet(organization).held_micros == 16


def test_too_small_balance_is_refused_with_the_shortfall(organization, key):
    set_balance(organization, 12)
    (admission,) = begin(request_with(key))
    assert isinstance(admission.error, PaymentRequired)
    # 20 of prompt, 16 of completion.
    assert (admission.error.data["required_micros"], admission.error.data["available_micros"]) == (13, 12)
    assert not Completion.objects.exists()
    assert wallet(organization).held_micros == 0


def test_monthly_limit_of_the_key_counts(organization):
    _, key = api_keys.issue(organization, name="limited", by=None, monthly_limit_micros=20)
    (first,) = begin(request_with(key))
    assert wallet(organization).held_micros == 20
    assert first.completion.completion_tokens == 31
    (second,) = begin(request_with(key))
    assert second.error.type == "spend_limit_reached"


def test_each_request_of_a_batch_is_decided_separately(organization, key):
    set_balance(organization, 60)
    broken = AdmissionRequest(key=key, fault=BadRequest("no"))
    results = begin(request_with(key), broken, request_with(key), request_with(key))
    assert [result.completion is not None for result in results] == [True, False, False, False]
    assert results[1].error is broken.fault
    assert isinstance(results[2].error, PaymentRequired)
    assert [result.allowance.remaining for result in results] == [499, 498, 497, 496]
    assert wallet(organization).held_micros == 51


def test_unknown_key_is_reported_before_a_fault(db):
    (admission,) = begin(AdmissionRequest(key="vxp_live_no", fault=BadRequest("no")))
    assert admission.error.http_status == 401
    assert admission.allowance is None


def test_rate_limit_refuses_the_requests_above_it(settings, organization, key):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "requests": "3/minute"}
    from accounts.gate import limits

    limits._limit.cache_clear()
    try:
        results = begin(*[request_with(key) for _ in range(5)])
        assert [isinstance(result.error, RateLimited) for result in results] == [False] * 3 + [True] * 2
    finally:
        limits._limit.cache_clear()


def test_without_an_upstream_nothing_is_held(settings, organization, key):
    settings.APEX_UPSTREAMS = []
    (admission,) = begin(request_with(key))
    assert isinstance(admission.error, NotConfigured)
    assert (admission.error.http_status, admission.error.message) == (503, "The chat endpoint is not configured.")
    assert not Hold.objects.exists()


def test_concurrency_limit_refuses_the_requests_above_it(settings, organization, key):
    settings.APEX_MAX_OPEN = 2
    wrong = AdmissionRequest(key=key, fault=BadRequest("no"))
    results = begin(request_with(key), wrong, request_with(key), request_with(key))
    assert [result.completion is not None for result in results] == [True, False, True, False]
    assert results[1].error is wrong.fault
    assert (results[3].error.type, results[3].error.headers["Retry-After"]) == ("too_many_open", "1")
    assert wallet(organization).held_micros == 51 * 2
    refused = completions.begin_for(organization, request=request_with(), api_key=None)
    assert refused.error.type == "too_many_open"
    assert Completion.objects.count() == 2


def test_end_charges_the_usage(organization, key):
    (admission,) = begin(request_with(key))
    balance = wallet(organization).balance_micros
    ended = result_of(admission.completion, upstream="u", first_token_ms=3)
    assert completions.end([ended]) == [10]
    assert wallet(organization).held_micros == 0
    assert balance - wallet(organization).balance_micros == 10
    entry = Entry.objects.get(reference=f"chat:{admission.completion.completion_id}")
    assert entry.details["api_key_id"] == str(admission.completion.api_key.pk)
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


def test_end_that_is_tried_again_charges_the_whole_price(organization, key, monkeypatch):
    (admission,) = begin(request_with(key))
    result = result_of(admission.completion, BilledUsage(Usage(10_000, 100), Source.UPSTREAM))
    price = admission.completion.model.rates.price_micros(prompt_tokens=10_000, completion_tokens=100)
    assert price > admission.completion.hold.amount_micros

    def fail(*args):
        raise OperationalError("the connection was lost")

    with monkeypatch.context() as broken:
        broken.setattr(completion_sql, "update_ended", fail)
        with pytest.raises(OperationalError):
            completions.end([result])
    assert completions.end([result]) == [price]


def test_ending_twice_charges_once(organization, key):
    (admission,) = begin(request_with(key))
    completions.end([result_of(admission.completion)])
    completions.end([result_of(admission.completion)])
    completions.end([result_of(admission.completion, BilledUsage(Usage(50, 50), Source.COUNTED))])
    completions.end([result_of(admission.completion, None)])
    assert [entry.amount_micros for entry in Entry.objects.filter(kind="usage")] == [-10]
    assert Completion.objects.get().cost_micros == 10
    assert ledger.verify(wallet(organization)) == []


def test_charge_above_the_hold_is_limited_by_the_balance(organization, key):
    (first, second) = begin(request_with(key), request_with(key))
    used = BilledUsage(Usage(400, 100), Source.UPSTREAM)
    assert completions.end([result_of(first.completion, used)]) == [165]
    set_balance(organization, 30)
    assert completions.end([result_of(second.completion, used)]) == [51 + 30]
    assert Entry.objects.get(reference=f"chat:{second.completion.completion_id}").details["uncut_micros"] == 165
    assert ledger.verify(wallet(organization)) == []


def test_completion_with_an_empty_hold_and_balance_is_released(organization, key):
    (admission,) = begin(request_with(key, prompt_tokens=0, completion_tokens=1))
    assert admission.completion.hold.amount_micros == 0
    set_balance(organization, 0)
    assert completions.end([result_of(admission.completion)]) == [0]
    assert Completion.objects.get().state == State.RELEASED
    assert Hold.objects.get(reference__startswith="chat:").state == HoldState.RELEASED


@pytest.mark.parametrize("billed", [None, BilledUsage(Usage(0, 0), Source.UPSTREAM)])
def test_completion_without_usage_is_released(organization, key, billed):
    (admission,) = begin(request_with(key))
    assert completions.end([result_of(admission.completion, billed)]) == [0]
    assert Hold.objects.get().state == HoldState.RELEASED
    assert Completion.objects.get().state == State.RELEASED
    assert not Entry.objects.filter(kind="usage").exists()


def test_sweeper_releases_completions_without_a_heartbeat(organization, key):
    dead, alive, ended = (
        result.completion for result in begin(request_with(key), request_with(key), request_with(key))
    )
    completions.end([result_of(ended)])
    assert completions.sweep() == 0
    age_heartbeats(seconds=31)
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
    # A process that was only suspended ends its completion too late, and charges nothing.
    assert completions.end([result_of(dead)]) == [0]
    assert Completion.objects.get(pk=dead.completion_id).state == State.RELEASED
    assert ledger.verify(wallet(organization)) == []


def test_sweeper_waits_as_long_as_the_setting_says(organization, key, settings):
    begin(request_with(key))
    age_heartbeats(seconds=settings.APEX_SILENT_SECONDS - 10)
    assert completions.sweep() == 0
    age_heartbeats(seconds=settings.APEX_SILENT_SECONDS + 1)
    assert completions.sweep() == 1


@pytest.mark.parametrize("hours", [-1, 1])
def test_sweeper_does_not_depend_on_the_clocks_of_hosts(organization, key, hours):
    """The clocks of two hosts may differ by any time. Only the clock of the database counts."""
    other_time = timezone.now() + timedelta(hours=hours)
    with time_machine.travel(other_time):
        admission, seen = (result.completion for result in begin(request_with(key), request_with(key)))
        own = completions.begin_for(organization, request=request_with(), api_key=None).completion
    age_heartbeats(seen.completion_id, seconds=60)
    with time_machine.travel(other_time):
        completions.keep_alive([seen.completion_id])
    assert completions.sweep() == 0
    with time_machine.travel(other_time):
        assert completions.sweep() == 0
        age_heartbeats(admission.completion_id, seconds=31)
        assert completions.sweep() == 1
    age_heartbeats(own.completion_id, seconds=31)
    assert completions.sweep() == 1


def test_sweeper_continues_after_a_broken_wallet(organization, key):
    (broken,), (whole,) = begin(request_with(key)), begin(request_with(key))
    # This hold is larger than the sum of holds in the wallet, so its release violates a constraint.
    Hold.objects.filter(pk=broken.completion.hold.pk).update(amount_micros=10**6)
    age_heartbeats(seconds=60)
    assert completions.sweep() == 1
    states = dict(Completion.objects.values_list("pk", "state"))
    assert states == {broken.completion.completion_id: "running", whole.completion.completion_id: "released"}


def test_sweeper_spares_a_completion_with_a_heartbeat_after_its_query(organization, key):
    (admission,) = begin(request_with(key))
    age_heartbeats(seconds=60)
    row = Completion.objects.get()
    completions.keep_alive([row.pk])
    assert not completions._release_stale(row)
    assert Hold.objects.get().state == HoldState.OPEN
    assert Completion.objects.get().state == State.RUNNING
    assert admission.completion is not None


def test_abandoned_idempotency_key_does_not_prevent_the_charge(organization, key):
    (admission,) = begin(request_with(key, idempotency_key="k", fingerprint="f"))
    (again,) = begin(request_with(key, idempotency_key="k", fingerprint="f"))
    assert again.error.type == "idempotency_key_in_use"
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(days=1))
    (taken_over,) = begin(request_with(key, idempotency_key="k", fingerprint="f"))
    stored = StoredAnswer(text="first", is_stream=False)
    assert completions.end([result_of(admission.completion, stored_answer=stored)]) == [10]
    assert completions.end(
        [result_of(taken_over.completion, stored_answer=StoredAnswer("second", is_stream=False))]
    ) == [10]
    (replayed,) = begin(request_with(key, idempotency_key="k", fingerprint="f"))
    assert replayed.stored_answer == StoredAnswer("second", is_stream=False, charged_micros=10)


def test_refused_request_claims_no_idempotency_key(organization, key):
    set_balance(organization, 0)
    (refused,) = begin(request_with(key, idempotency_key="k", fingerprint="f"))
    assert isinstance(refused.error, PaymentRequired)
    ledger.credit(organization, amount_micros=1000, kind="credit", reference="more")
    (admission,) = begin(request_with(key, idempotency_key="k", fingerprint="f"))
    assert admission.completion is not None


def test_idempotency_key_gives_no_token_the_answer_of_another_caller(organization):
    """The attack: send the Idempotency-Key and the body of the site's server, or of another visitor."""
    parent, server = api_keys.issue(organization, name="server", by=None)
    facts = {"scopes": ["chat"], "lifetime": timedelta(minutes=5), "spend_limit_micros": 1000}
    callers = [server, *(tokens.issue(parent, name="t", **facts)[1] for _ in range(2))]
    for number, caller in enumerate(callers):
        (admission,) = begin(request_with(caller, idempotency_key="k", fingerprint="f"))
        assert admission.error is None
        assert admission.stored_answer is None
        completions.end([result_of(admission.completion, stored_answer=StoredAnswer(f"for {number}", is_stream=False))])
    # Whoever sends it again gets their own, and another key of the organization the one of the first key.
    _, other = api_keys.issue(organization, name="other", by=None)
    again = [begin(request_with(caller, idempotency_key="k", fingerprint="f"))[0] for caller in (*callers, other)]
    assert [admission.stored_answer.text for admission in again] == ["for 0", "for 1", "for 2", "for 0"]


def test_equal_keys_of_one_batch_are_admitted_once(organization, key):
    first, second, other = begin(
        *(request_with(key, idempotency_key=name, fingerprint="f") for name in ("k", "k", "j")),
    )
    assert first.completion is not None
    assert second.error.type == "idempotency_key_in_use"
    assert other.completion is not None
    assert Hold.objects.filter(state=HoldState.OPEN).count() == 2


def test_each_claim_of_a_batch_is_decided_separately(organization, key):
    """One is admitted, one has a fault, one is refused for another use of its key: the others' claims stay theirs."""
    (before,) = begin(request_with(key, idempotency_key="used", fingerprint="other"))
    assert before.completion is not None
    admitted, faulty, reused = begin(
        request_with(key, idempotency_key="z", fingerprint="f"),
        request_with(key, idempotency_key="b", fingerprint="f", fault=BadRequest("no")),
        request_with(key, idempotency_key="used", fingerprint="f"),
    )
    assert admitted.completion.claim.key == "z"
    assert isinstance(faulty.error, BadRequest)
    assert reused.error.type == "idempotency_key_reused"
    assert set(IdempotencyRecord.objects.values_list("key", flat=True)) == {"used", "z"}


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite locks no rows")
@pytest.mark.django_db(transaction=True)
def test_batch_waits_for_keys_before_it_has_the_wallet(organization, key):
    """Two batches with one key, by two processes. One claims the key, and then wants the wallet."""
    (row,) = organization.api_keys.all()

    def begin_elsewhere():
        try:
            return begin(request_with(key), request_with(key, idempotency_key="k", fingerprint="f"))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            claim = idempotency.claim(organization, key="k", request_fingerprint="f")
            elsewhere = pool.submit(begin_elsewhere)
            wait_until_one_waits_for_us()
            # Fails if somebody has it. To wait for it would end in a deadlock.
            Wallet.objects.select_for_update(nowait=True).get(organization=organization)
            ledger.reserve(organization, amount_micros=10, reference="chat:x", api_key=row)
        funds_only, same_key = elsewhere.result(30)
    assert isinstance(claim, idempotency.Claim)
    assert funds_only.completion is not None
    assert same_key.error.type == "idempotency_key_in_use"


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite locks no rows")
@pytest.mark.django_db(transaction=True)
def test_batch_claims_its_keys_in_one_order(organization, key):
    """Another batch has "a" and wants "b". This one must not have "b" while it waits for "a"."""

    def begin_elsewhere():
        try:
            return begin(*(request_with(key, idempotency_key=name, fingerprint="f") for name in ("b", "a")))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            idempotency.claim(organization, key="a", request_fingerprint="f")
            elsewhere = pool.submit(begin_elsewhere)
            wait_until_one_waits_for_us()
            assert isinstance(idempotency.claim(organization, key="b", request_fingerprint="f"), idempotency.Claim)
        assert [admission.error.type for admission in elsewhere.result(30)] == ["idempotency_key_in_use"] * 2


# --- Tags ------------------------------------------------------------------------------------------------------------


def test_charges_that_end_together_have_each_their_own_tags(organization, key):
    wanted = [{"customer": "a"}, {}, {"customer": "b", "team": "x"}]
    admissions = begin(*(request_with(key, tags=tags) for tags in wanted))
    completions.end([result_of(admission.completion) for admission in admissions])
    for admission, tags in zip(admissions, wanted, strict=True):
        entry = Entry.objects.get(reference=admission.completion.hold.reference)
        assert dict(entry.tags.values_list("name", "value")) == tags
        assert "customer" not in str(entry.details)


def test_end_that_is_repeated_or_costs_nothing_writes_no_tags(organization, key):
    (first,), (second,) = begin(request_with(key, tags={"a": "b"})), begin(request_with(key, tags={"a": "c"}))
    for _ in range(2):
        completions.end([result_of(first.completion)])
    completions.end([result_of(second.completion, billed=None)])
    assert list(ChargeTag.objects.values_list("value", flat=True)) == ["b"]


def test_token_spends_its_limit_and_not_more_and_its_key_is_charged(organization):
    parent, _ = api_keys.issue(organization, name="server", by=None)
    facts = {"scopes": ["chat"], "lifetime": timedelta(minutes=5), "spend_limit_micros": 70}
    token, secret = tokens.issue(parent, name="t", **facts)
    # The first gets all that it can use, 51; the second what is left, and fewer tokens; the third nothing.
    first, second, third = begin(*[request_with(secret) for _ in range(3)])
    assert (first.completion.hold.amount_micros, second.completion.hold.amount_micros) == (51, 19)
    assert 1 <= second.completion.completion_tokens < 100
    assert isinstance(third.error, ledger.SpendLimitReached)
    assert {row.api_key for row in Completion.objects.all()} == {parent}
    tokens.revoke(parent, token_id=token.pk)
    (refused,) = begin(request_with(secret))
    assert isinstance(refused.error, Unauthorized)
    # What was admitted before runs to its end.
    completions.end([result_of(first.completion), result_of(second.completion, None)])
    entry = Entry.objects.get(kind="usage", reference=first.completion.hold.reference)
    assert (entry.amount_micros, entry.details["api_key_id"]) == (-10, str(parent.pk))
    assert TokenSpend.objects.get(token=token).spent_micros == 10
    assert list(ledger.verify(wallet(organization))) == []


def test_token_is_not_told_why_its_organization_cannot_pay(organization):
    parent, _ = api_keys.issue(organization, name="server", by=None)
    facts = {"scopes": ["chat"], "lifetime": timedelta(minutes=5), "spend_limit_micros": 1_000}
    _, secret = tokens.issue(parent, name="t", **facts)
    ledger.set_monthly_limit(organization, limit_micros=1)
    (refused,) = begin(request_with(secret))
    assert (refused.error.type, refused.error.data) == ("insufficient_balance", {})
    assert refused.error.message == "The site cannot pay for this now."


def test_token_without_chat_is_refused(organization):
    parent, _ = api_keys.issue(organization, name="server", by=None)
    facts = {"scopes": ["read"], "lifetime": timedelta(minutes=5), "spend_limit_micros": 60}
    (refused,) = begin(request_with(tokens.issue(parent, name="t", **facts)[1]))
    assert isinstance(refused.error, InsufficientScope)
    assert not Hold.objects.filter(token_id__isnull=False).exists()
