"""Batches of all organizations. On SQLite there are none."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import requests
from django.db import OperationalError, connection, transaction

from accounts import api_keys, tokens
from accounts.errors import BadRequest, InsufficientScope, RateLimited, Unauthorized
from accounts.gate import caller_cache, concurrency, limits
from accounts.models import Scope
from apex import completions, shared_batches
from apex.models import Completion, State
from apex.shared_batches import Deferred
from apex.types import Admission, AdmissionRequest
from apex.usage_meter import BilledUsage, Source, Usage
from billing.models import ChargeTag, Entry, Hold, HoldState, TokenSpend
from tests.apex import exchange
from tests.apex import site as sites
from tests.apex.admitting import (
    are_sound,
    begin,
    completion_of,
    held,
    key_of,
    request_with,
    result_of,
)
from tests.apex.conftest import SWITCHES
from tests.product import free_port, given_services

pytestmark = [
    pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL only"),
    pytest.mark.usefixtures("with_an_upstream"),
]


def test_completions_of_two_organizations_are_admitted_and_charged(organization, charlies):
    ours, theirs = key_of(organization), key_of(charlies)
    results = begin([request_with(ours), request_with(theirs, is_stream=True), request_with(ours)])
    begun = [completion_of(result) for result in results]
    assert (held(organization), held(charlies)) == (2 * 51, 51)
    assert [result.allowance.remaining for result in results] == [499, 499, 498]
    for completion in begun:
        row = Completion.objects.get(pk=completion.completion_id)
        assert (row.state, row.organization, row.api_key) == (
            State.RUNNING,
            completion.organization,
            completion.api_key,
        )
        assert (row.hold_id, row.model) == (completion.hold.pk, "apex-latest")
    assert Completion.objects.get(pk=begun[1].completion_id).is_stream
    assert shared_batches.end([result_of(completion) for completion in begun]) == [10, 10, 10]
    row = Completion.objects.get(pk=begun[0].completion_id)
    assert (row.state, row.prompt_tokens, row.completion_tokens, row.cost_micros) == (State.CHARGED, 18, 10, 10)
    assert (row.finish, row.upstream, row.source, row.latency_ms) == ("stop", "u", "upstream", 5)
    assert row.ended_at is not None
    entry = Entry.objects.get(reference=row.reference)
    assert (entry.amount_micros, entry.details["counted_by"]) == (-10, "upstream")
    assert (held(organization), held(charlies)) == (0, 0)
    assert are_sound(organization, charlies)


def test_admission_takes_one_statement_and_none_for_a_known_key(organization, django_assert_num_queries):
    """The statement itself goes past Django's cursor. So what is counted here are all others."""
    key = key_of(organization)
    completion_of(begin([request_with(key)])[0])
    # Inside the test's transaction: a savepoint and its release.
    with django_assert_num_queries(2):
        completion_of(begin([request_with(key)])[0])
    assert Completion.objects.count() == 2


def test_key_that_was_revoked_a_moment_ago_admits_nothing(organization):
    key = key_of(organization)
    completion_of(begin([request_with(key)])[0])
    api_keys.revoke(organization, key_id=organization.api_keys.get().pk)
    request = request_with(key)
    (deferred,) = begin([request])
    assert isinstance(deferred, Deferred)
    (admission,) = completions.begin_counted([(request, deferred.check)])
    assert isinstance(admission.error, Unauthorized)
    assert Completion.objects.count() == 1


@pytest.mark.parametrize("overlap", [timedelta(0), timedelta(hours=1)])
def test_key_that_was_rotated_a_moment_ago_has_the_overlap_that_was_asked_for(organization, overlap):
    key = key_of(organization)
    completion_of(begin([request_with(key)])[0])
    new_key = api_keys.rotate(organization.api_keys.get(), overlap=overlap, by=None)
    completion_of(begin([request_with(new_key)])[0])
    request = request_with(key)
    (deferred,) = begin([request])
    assert isinstance(deferred, Deferred)
    (admission,) = completions.begin_counted([(request, deferred.check)])
    assert (admission.completion is not None) == bool(overlap)
    # Afterwards the old secret is never taken from the cache.
    assert {known.caller.api_key.sha256 for known in caller_cache._known.values()} >= {api_keys.digest(new_key)}


def test_scopes_that_were_taken_a_moment_ago_admit_nothing(organization):
    key = key_of(organization)
    completion_of(begin([request_with(key)])[0])
    api_keys.set_scopes(organization, key_id=organization.api_keys.get().pk, scopes=[Scope.READ])
    request = request_with(key)
    (deferred,) = begin([request])
    assert isinstance(deferred, Deferred)
    (admission,) = completions.begin_counted([(request, deferred.check)])
    assert isinstance(admission.error, InsufficientScope)


def test_scope_that_was_given_a_moment_ago_counts(organization):
    row, key = api_keys.issue(organization, name="test", by=None, scopes=[Scope.READ])
    (refused,) = begin([request_with(key)])
    assert isinstance(refused.error, InsufficientScope)
    api_keys.set_scopes(organization, key_id=row.pk, scopes=[Scope.CHAT])
    (admitted,) = begin([request_with(key)])
    assert isinstance(admitted, Deferred) or admitted.completion is not None


@pytest.mark.django_db(transaction=True)
def test_heartbeat_does_not_wait_for_an_end(organization):
    request = request_with(key_of(organization))
    completion_id = completion_of(begin([request])[0]).completion_id
    is_locked, may_end = threading.Event(), threading.Event()

    def lock():
        with transaction.atomic():
            Completion.objects.select_for_update().get(pk=completion_id)
            is_locked.set()
            may_end.wait(30)
        connection.close()

    other = threading.Thread(target=lock)
    other.start()
    try:
        assert is_locked.wait(30)
        assert completions.keep_alive([completion_id]) == 0
    finally:
        may_end.set()
        other.join()
    assert completions.keep_alive([completion_id]) == 1


def test_wrong_key_and_wrong_scope_are_refused_at_once(organization):
    row, narrow = api_keys.issue(organization, name="narrow", by=None)
    api_keys.set_scopes(organization, key_id=row.pk, scopes=[Scope.READ])
    wrong, without_scope, good = begin(
        [request_with("vxp_live_no"), request_with(narrow), request_with(key_of(organization))]
    )
    assert isinstance(wrong.error, Unauthorized)
    assert isinstance(without_scope.error, InsufficientScope)
    completion_of(good)


def test_rate_limit_of_one_organization_is_its_own(organization, charlies, settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "completions": "2/minute"}
    limits._limit.cache_clear()
    try:
        ours, theirs = key_of(organization), key_of(charlies)
        results = begin([*(request_with(ours) for _ in range(4)), request_with(theirs)])
    finally:
        limits._limit.cache_clear()
    assert [isinstance(result, Admission) and result.completion is not None for result in results] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert all(isinstance(result.error, RateLimited) for result in results[2:4])


def test_what_is_held_while_redis_counts_is_given_back_if_redis_refuses(organization, charlies, settings):
    ours, theirs = key_of(organization), key_of(charlies)
    # From now on this process knows that there is room. Another one may use it up.
    first = [completion_of(result) for result in begin([request_with(ours), request_with(theirs)])]
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "completions": "2/minute"}
    limits._limit.cache_clear()
    try:
        results = begin([*(request_with(ours) for _ in range(4)), request_with(theirs)])
    finally:
        limits._limit.cache_clear()
    admitted = [completion_of(result) for result in (*results[:2], results[4])]
    assert all(isinstance(result.error, RateLimited) for result in results[2:4])
    assert concurrency.slots_in_use((completions.SLOTS, organization.pk)) == 3
    assert (held(organization), held(charlies)) == (3 * 51, 2 * 51)
    released = Completion.objects.filter(state=State.RELEASED)
    assert [(row.finish, row.organization) for row in released] == [("rate_limited", organization)] * 2
    # The next batch waits for what Redis says.
    assert shared_batches._room[organization.pk] == 0
    assert shared_batches.end([result_of(each) for each in (*first, *admitted)]) == [10] * 5
    assert (held(organization), held(charlies)) == (0, 0)
    assert are_sound(organization, charlies)


def test_refused_request_stays_refused_when_its_money_cannot_be_given_back(organization, settings, monkeypatch):
    key = key_of(organization)
    completion_of(begin([request_with(key)])[0])
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "completions": "1/minute"}
    limits._limit.cache_clear()

    def fail(_):
        raise OperationalError

    monkeypatch.setattr(completions, "end", fail)
    try:
        results = begin([request_with(key), request_with(key)])
    finally:
        limits._limit.cache_clear()
    completion_of(results[0])
    assert isinstance(results[1].error, RateLimited)
    # The sweeper releases it, as that of a process that died.
    assert Completion.objects.running().count() == 3


def test_unusual_requests_are_deferred_and_counted_once(organization):
    key = key_of(organization)
    broken = AdmissionRequest(key=key, fault=BadRequest("no"))
    kept = request_with(key, idempotency_key="k", fingerprint="f")
    results = begin([broken, kept, request_with(key)])
    assert [isinstance(result, Deferred) for result in results] == [True, True, False]
    pairs = [(broken, results[0].check), (kept, results[1].check)]
    first, second = completions.begin_counted(pairs)
    assert first.error is broken.fault
    assert second.completion.claim is not None
    assert second.allowance.remaining == 498
    assert limits.spend(organization, scope="completions").remaining == 496


def test_second_key_of_an_organization_is_deferred(organization):
    results = begin([request_with(key_of(organization)), request_with(key_of(organization))])
    completion_of(results[0])
    assert isinstance(results[1], Deferred)


def test_organization_at_its_limit_goes_alone_for_a_while(organization, charlies):
    ours, theirs = key_of(organization, monthly_limit_micros=20), key_of(charlies)
    requests_ = [request_with(ours), request_with(theirs)]
    # The limit makes the statement of both fail.
    assert all(isinstance(result, Deferred) for result in begin(requests_))
    shared_batches.go_alone(organization.pk)
    first, second = begin([request_with(ours), request_with(theirs)])
    assert isinstance(first, Deferred)
    completion_of(second)
    assert are_sound(organization, charlies)


def test_end_that_is_told_twice_charges_once(organization):
    (admission,) = begin([request_with(key_of(organization))])
    result = result_of(completion_of(admission))
    assert shared_batches.end([result]) == [10]
    assert shared_batches.end([result]) == [None]
    assert completions.end([result]) == [0]
    assert Entry.objects.filter(kind="usage").count() == 1
    assert are_sound(organization)


def test_ends_without_a_price_or_above_the_hold_are_left(organization):
    key = key_of(organization)
    requests_ = [request_with(key), request_with(key), request_with(key)]
    released, above, usual = [completion_of(each) for each in begin(requests_)]
    results = [
        result_of(released, None),
        result_of(above, BilledUsage(Usage(10_000, 100), Source.UPSTREAM)),
        result_of(usual),
    ]
    # All are of one wallet, and one is unusual.
    assert shared_batches.end(results) == [None, None, None]
    assert shared_batches.end([results[2]]) == [10]
    assert completions.end(results[:2]) == [0, 3045]
    assert Hold.objects.get(pk=released.hold.pk).state == HoldState.RELEASED
    assert held(organization) == 0
    assert are_sound(organization)


def test_charge_with_tags_is_left_to_the_verb_that_writes_them(organization, charlies):
    requests_ = [request_with(key_of(organization), tags={"customer": "a"}), request_with(key_of(charlies))]
    tagged, other = [completion_of(each) for each in begin(requests_)]
    assert shared_batches.end([result_of(tagged), result_of(other)]) == [None, 10]
    assert completions.end([result_of(tagged)]) == [10]
    assert list(ChargeTag.objects.values_list("entry__reference", "value")) == [(tagged.hold.reference, "a")]
    assert are_sound(organization, charlies)


def test_swept_completion_is_not_charged_and_stops_no_other_for_good(organization, charlies):
    results = begin([request_with(key_of(organization)), request_with(key_of(charlies))])
    swept, other = [completion_of(each) for each in results]
    Completion.objects.filter(pk=swept.completion_id).update(seen_at="2020-01-01T00:00:00Z")
    assert completions.sweep() == 1
    ended = [result_of(swept), result_of(other)]
    assert shared_batches.end(ended) == [None, None]
    assert completions.end(ended[:1]) == [0]
    assert completions.end(ended[1:]) == [10]
    assert are_sound(organization, charlies)


@pytest.fixture
def two_processes(tmp_path: Path, upstream: exchange.ScriptedUpstream) -> Iterator[tuple[sites.Site, str]]:
    """Yield a site with one web process, and the address of a second one on the same database."""
    switches = {"APEX_UPSTREAM_BASE_URL": f"{upstream.address}/first", "APEX_UPSTREAM_API_KEY": exchange.SECRET}
    with given_services() as services, sites.running(tmp_path, **switches, **SWITCHES, **services) as site:
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        with (tmp_path / "second.log").open("w") as log:
            second = sites.start_web({**site.environment, "PORT": str(port)}, log)
            try:
                sites.wait_until_up(address, second, tmp_path / "second.log")
                yield site, address
            finally:
                second.terminate()
                second.wait(timeout=20)


@pytest.mark.enable_socket
def test_revocation_and_limit_are_seen_by_every_process_within_a_second(two_processes, upstream):
    site, second = two_processes
    keys = [site.new_key(owner=f"{name}@example.com", dollars="1") for name in ("ann", "ben")]

    def ask(address: str, key: str) -> int:
        body = {"model": "apex-latest", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}
        headers = {"Authorization": f"Bearer {key}"}
        return requests.post(f"{address}/v1/apex/chat/completions", json=body, headers=headers, timeout=20).status_code

    for address in (site.address, second):
        for key in keys:
            assert [ask(address, key) for _ in range(2)] == [200, 200]
    # Both processes have read both keys a moment ago.
    with psycopg.connect(site.environment["DATABASE_URL"], autocommit=True) as database:
        owned = "(SELECT id FROM accounts_organization WHERE name = %s)"
        database.execute(
            f"UPDATE accounts_apikey SET revoked_at = now() WHERE organization_id = {owned}",
            ["ann@example.com"],
        )
        database.execute(
            f"UPDATE accounts_apikey SET monthly_limit_micros = 0 WHERE organization_id = {owned}",
            ["ben@example.com"],
        )
    statuses = [(ask(address, keys[0]), ask(address, keys[1])) for address in (site.address, second)]
    assert statuses == [(401, 402), (401, 402)]
    site.manage("check_ledger")


@pytest.mark.enable_socket
def test_end_of_a_token_or_of_its_key_is_seen_by_every_process_at_once(two_processes, upstream):
    site, second = two_processes
    key = site.new_key(owner="ann@example.com", dollars="1")
    fields = {"scopes": ["chat"], "spend_limit_micros": 100_000}
    made = [
        requests.post(f"{site.address}/v1/tokens", json=fields, headers={"X-API-Key": key}, timeout=20).json()
        for _ in range(2)
    ]

    def statuses() -> list[list[int]]:
        """Of each token, the answers of both processes."""
        body = {"model": "apex-latest", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}
        return [
            [
                requests.post(
                    f"{address}/v1/apex/chat/completions", json=body, headers={"X-API-Key": secret}, timeout=20
                ).status_code
                for address in (site.address, second)
            ]
            for secret in (token["secret"] for token in made)
        ]

    assert statuses() == [[200, 200], [200, 200]]
    url = f"{site.address}/v1/tokens/{made[0]['id']}"
    assert requests.delete(url, headers={"X-API-Key": key}, timeout=20).status_code == 200
    assert statuses() == [[401, 401], [200, 200]]
    site.manage(
        "shell",
        "-c",
        "from accounts import api_keys; from accounts.models import ApiKey\n"
        "key = ApiKey.objects.get(parent=None); api_keys.revoke(key.organization, key_id=key.pk)",
    )
    assert statuses() == [[401, 401], [401, 401]]
    site.manage("check_ledger")


def test_tokens_are_left_to_the_path_that_knows_their_limit(organization, charlies):
    key, row = key_of(charlies), api_keys.issue(organization, name="server", by=None)[0]
    facts = {"scopes": ["chat"], "lifetime": timedelta(minutes=5), "spend_limit_micros": 50}
    token, secret = tokens.issue(row, name="t", **facts)
    request = request_with(secret)
    deferred, admitted = begin([request, request_with(key)])
    other = completion_of(admitted)
    assert isinstance(deferred, Deferred)
    completion = completion_of(completions.begin_counted([(request, deferred.check)])[0])
    assert completion.hold.amount_micros == 50
    assert shared_batches.end([result_of(completion), result_of(other)]) == [None, 10]
    assert completions.end([result_of(completion)]) == [10]
    assert TokenSpend.objects.get(token=token).spent_micros == 10
    assert are_sound(organization, charlies)
    # Its revocation is seen, although the process remembers the token.
    tokens.revoke(row, token_id=token.pk)
    request = request_with(secret)
    (deferred,) = begin([request])
    (admission,) = completions.begin_counted([(request, deferred.check)])
    assert isinstance(admission.error, Unauthorized)
