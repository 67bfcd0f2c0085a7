"""The list of engine processes in a real Redis."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import asdict, replace

import pytest
from redis.exceptions import ConnectionError as NoConnection

from transcription.speech.engines import leases
from transcription.speech.engines.leases import Announcer, Registry

KEY, OTHER = "a" * 64, "b" * 64


def report(instance="one", *, waiting=0, models=None, services=()):
    return {
        "instance": instance,
        "waiting": waiting,
        "engine": {"max_batch": 32},
        "models": models or {"standard": {"state": "loaded"}, "premium": {"state": "failed"}},
        "services": {kind: {} for kind in services},
    }


def lease(instance="one", *, key=KEY, **said):
    return leases.lease_of(report(instance, **said), address=f"tcp://{key}@{instance}:5590", device="cuda:0")


@pytest.fixture
def registry(redis_of_tests):
    redis_of_tests.flushdb()

    return Registry(redis_of_tests)


def test_lease_is_there_until_it_is_not_renewed(registry):
    registry.renew(lease("one"), report("one"), seconds=60)
    registry.renew(lease("two"), report("two"), seconds=1)
    assert [one.instance for one in registry.all()] == ["one", "two"]
    assert registry.reports([lease("one")]) == {lease("one").address: report("one")}
    deadline = time.monotonic() + 5
    while len(registry.all()) == 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert registry.all() == registry.some() == [lease("one")]
    assert registry._redis.smembers("engines") == {b"one"}
    registry.end("one")
    assert registry.all() == registry.some(known=["one"]) == []
    assert registry.reports([lease("one")]) == {}
    assert registry._redis.keys("engine*") == []


def test_client_of_a_large_fleet_knows_a_part_of_it_and_stays_with_that(registry):
    for number in range(leases.MAX_KNOWN + 20):
        registry.renew(lease(str(number)), report(str(number)))
    assert len(registry.all()) == leases.MAX_KNOWN + 20
    first = [one.instance for one in registry.some()]
    assert len(first) == leases.MAX_KNOWN
    assert [one.instance for one in registry.some(known=first)] == first
    registry.end(first[0])
    assert {one.instance for one in registry.some(known=first[1:])} > set(first[1:])


def test_lease_says_what_a_worker_must_know():
    said = lease(waiting=7, services=["diarize"])
    member = said.member_for("standard")
    assert (member.address, member.waiting, member.batch) == (f"tcp://{KEY}@one:5590", 7, 32)
    assert [said.member_for(model).has_model for model in ("standard", "premium", "")] == [True, False, None]
    cold = lease(models={"standard": {"state": "loaded"}, "premium": {"state": "not loaded"}})
    assert (cold.models, cold.loaded) == (("standard", "premium"), ("standard",))
    assert (said.models, said.kinds) == (("standard",), ("diarize",))
    loading = leases.lease_of({**report(), "engine": None}, address="tcp://x", device="cpu")
    assert loading.batch == 1


def test_only_engines_with_trusted_keys_are_used():
    """Who can write to Redis could name an address of their own."""
    both = [lease("ours"), lease("theirs", key=OTHER), replace(lease("local"), address="ipc:///run/engine.sock")]
    assert leases.trusted(both, public_keys=[KEY]) == [both[0]]
    assert leases.trusted(both, public_keys=[]) == []


NO_LEASES = {
    "no JSON": "{",
    "no object": "[]",
    "a field is missing": json.dumps({"instance": "bad", "address": "tcp://x@y:1"}),
    "no address": json.dumps({**asdict(lease("bad")), "address": f"tcp://{KEY}@:5590"}),
    "no text": json.dumps({**asdict(lease("bad")), "address": None}),
}


@pytest.mark.parametrize("name", NO_LEASES)
def test_lease_that_cannot_be_read_hides_no_other(registry, name):
    registry.renew(lease("one"), report("one"))
    registry._redis.set("engine:bad", NO_LEASES[name], ex=60)
    registry._redis.sadd("engines", "bad")
    assert registry.all() == registry.some(known=["bad"]) == [lease("one")]


def test_lease_of_a_later_release_is_read(registry):
    """Hosts are updated one after another."""
    registry.renew(lease("one"), report("one"))
    registry._redis.set("engine:one", json.dumps({**asdict(lease("one")), "since": 1}), ex=60)
    assert registry.all() == [lease("one")]


@pytest.mark.long
def test_engine_without_a_free_descriptor_is_announced_later(registry, sphinx_process, caplog):
    announcer = Announcer(
        registry, socket=sphinx_process.address, address=f"tcp://{KEY}@one:5590", device="cpu", every_seconds=0.05
    )
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Less than are open: what other threads close at this moment makes no room.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        announcer.start()
        deadline = time.monotonic() + 30
        while announcer._thread.is_alive() and not caplog.records:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    while not (found := registry.all()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    announcer.stop()
    assert [one.device for one in found] == ["cpu"]


@pytest.mark.long
def test_engine_that_answers_itself_is_announced_and_one_that_stops_is_gone_at_once(registry):
    answers = [report(waiting=1), None, report(waiting=2)]

    def ask(address, timeout_seconds):
        return answers.pop(0) if len(answers) > 1 else answers[0]

    announcer = Announcer(
        registry, socket="ipc:///x", address=f"tcp://{KEY}@one:5590", device="cuda:0", every_seconds=0.05, ask=ask
    )
    announcer.start()
    deadline = time.monotonic() + 5
    while not (found := registry.all()) or found[0].waiting < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found == [lease(waiting=2)]
    announcer.stop()
    assert registry.all() == []


def test_engine_works_on_without_redis(caplog):
    class Gone(Registry):
        def renew(self, *_, **__):
            raise NoConnection("no Redis")

    announcer = Announcer(Gone(None), socket="ipc:///x", address="tcp://x", device="cpu", ask=lambda *_: report())
    announcer._announce()
    announcer._announce()
    assert [one.message for one in caplog.records] == ["other hosts are not told of this engine: no Redis"]
