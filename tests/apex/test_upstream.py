"""The choice between several upstreams, without the rest of the site."""

import asyncio
import json
import math
import subprocess
import sys
import time

import pytest
from prometheus_client.core import REGISTRY

from accounts.errors import VoxsiteError
from apex import shared_breakers, upstream
from apex.errors import NoUpstream, UpstreamBroken, UpstreamBusy, UpstreamSilent
from apex.upstream_failures import UpstreamAttemptFailed
from tests.apex import scripted
from tests.product import PROJECT_DIR, environment_of

pytestmark = pytest.mark.enable_socket


@pytest.fixture(autouse=True)
def two_upstreams(settings, monkeypatch, upstream_server):
    settings.APEX_FIRST_CHUNK_SECONDS = 1
    settings.APEX_UPSTREAMS = [
        {"name": "one", "base_url": f"{upstream_server.address}/first", "api_key": "k1", "model_names": {}},
        {"name": "two", "base_url": f"{upstream_server.address}/second", "api_key": "", "model_names": {"m": "other"}},
    ]
    # Circuit breakers live as long as the process, and so does what it knows of those of others.
    upstream._build_upstreams.cache_clear()
    monkeypatch.setattr(upstream, "_learned_at", -math.inf)


@pytest.fixture(scope="module")
def upstream_server():
    with scripted.running() as server:
        yield server


@pytest.fixture(autouse=True)
def forget(upstream_server):
    upstream_server.forget()


def ask(content, *, is_stream=True):
    async def act():
        try:
            answer = await upstream.ask(
                lambda model: {"model": model, "messages": [{"role": "user", "content": content}], "stream": is_stream},
                model="m",
                is_stream=is_stream,
            )
            try:
                return answer.upstream, answer.first.content["model"], [event async for event in answer.events()]
            finally:
                answer.close()
        finally:
            await upstream.close()

    return asyncio.run(act())


FAILURES = ["status 401", "status 500", "status 429 1", "status 429", "not-json", "redirect"]
FAILURES_OF_STREAMS = [*FAILURES, "empty", "cut 0"]


@pytest.mark.parametrize(
    ("scenario", "is_stream"),
    [*((each, False) for each in FAILURES), *((each, True) for each in FAILURES_OF_STREAMS)],
)
def test_next_upstream_replaces_one_that_fails(upstream_server, scenario, is_stream):
    name, model, _ = ask(f"first-{scenario}", is_stream=is_stream)
    assert (name, model) == ("two", "other")
    assert upstream_server.paths == ["/first/chat/completions", "/second/chat/completions"]
    assert upstream_server.headers[0]["Authorization"] == "Bearer k1"
    assert "Authorization" not in upstream_server.headers[1]


def attempts(name, outcome):
    return REGISTRY.get_sample_value("voxsite_upstream_attempts_total", {"upstream": name, "outcome": outcome}) or 0


def test_each_attempt_is_counted_by_what_came_of_it(upstream_server):
    before = attempts("one", "failed"), attempts("two", "answered"), attempts("one", "refused")
    ask("first-status 500")
    with pytest.raises(VoxsiteError):
        ask("first-refuse")
    after = attempts("one", "failed"), attempts("two", "answered"), attempts("one", "refused")
    assert tuple(new - old for new, old in zip(after, before, strict=True)) == (1, 1, 1)


def test_next_upstream_replaces_a_silent_one():
    assert ask("first-silent 9")[0] == "two"


def test_next_upstream_replaces_an_unreachable_one(settings):
    from tests.product import free_port

    settings.APEX_UPSTREAMS = [
        {**settings.APEX_UPSTREAMS[0], "base_url": f"http://127.0.0.1:{free_port()}"},
        settings.APEX_UPSTREAMS[1],
    ]
    assert ask("normal")[0] == "two"


def test_refused_request_is_not_sent_again(upstream_server):
    with pytest.raises(VoxsiteError) as caught:
        ask("first-refuse")
    assert caught.value.http_status == 400
    assert len(upstream_server.paths) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("scenario", "error", "request_count"),
    [
        ("status 500", UpstreamBroken, 4),
        ("status 401", UpstreamBroken, 2),
        ("status 429 30", UpstreamBusy, 2),
        ("silent 9", UpstreamSilent, 2),
    ],
)
def test_error_when_all_upstreams_fail(upstream_server, scenario, error, request_count):
    with pytest.raises(error):
        ask(scenario)
    assert len(upstream_server.paths) == request_count


@pytest.mark.long
@pytest.mark.parametrize(
    ("scenarios", "error", "first_count", "second_count"),
    [
        # A time-out is never repeated, whatever the other one does: the upstream may have done the work.
        ("silent 9 | status 500", UpstreamSilent, 1, 2),
        ("status 500 | silent 9", UpstreamSilent, 2, 1),
        # Who is busy for a moment is asked again, though the other one is set up wrongly; the client is told of it.
        ("status 429 1 | status 401", UpstreamBusy, 2, 1),
        ("status 401 | status 429 30", UpstreamBusy, 1, 1),
    ],
)
def test_each_upstream_is_asked_again_by_its_own_failure(upstream_server, scenarios, error, first_count, second_count):
    with pytest.raises(error):
        ask(scenarios)
    counts = [upstream_server.paths.count(f"/{each}/chat/completions") for each in ("first", "second")]
    assert counts == [first_count, second_count]


def test_request_is_not_sent_again_after_the_first_chunk(upstream_server):
    with pytest.raises(UpstreamAttemptFailed):
        ask("first-cut 2")
    assert len(upstream_server.paths) == 1


def test_error_without_upstreams(settings):
    settings.APEX_UPSTREAMS = []
    with pytest.raises(NoUpstream):
        ask("normal")


def test_upstream_with_an_open_breaker_is_skipped(upstream_server):
    for _ in range(6):
        ask("first-status 401")
    assert upstream_server.paths.count("/first/chat/completions") == 5
    assert upstream_server.paths.count("/second/chat/completions") == 6


@pytest.mark.parametrize("scenario", ["status 400", "status 403"])
def test_failure_that_the_request_may_have_caused_opens_no_breaker(upstream_server, scenario):
    for _ in range(6):
        with pytest.raises(VoxsiteError):
            ask(scenario)
    assert ask("normal 1")[0] == "one"


def test_breaker_counts_one_failure_per_request(upstream_server):
    for _ in range(3):  # each request tries both upstreams twice
        with pytest.raises(UpstreamBroken):
            ask("status 500")
    assert ask("normal 1")[0] == "one"


FIVE_FAILURES = """
import asyncio, django, json, sys
django.setup()
from django.conf import settings
settings.APEX_UPSTREAMS = json.loads(sys.argv[1])
from apex import upstream
async def act():
    for _ in range(5):
        messages = [{"role": "user", "content": "first-status 401"}]
        body_for = lambda model: {"model": model, "messages": messages, "stream": True}
        answer = await upstream.ask(body_for, model="m", is_stream=True)
        answer.close()
    await upstream.close()
asyncio.run(act())
"""


@pytest.mark.long
def test_upstream_that_failed_in_another_process_is_skipped_until_one_request_of_all_has_tried(
    settings, redis_of_tests, upstream_server, tmp_path
):
    command = [sys.executable, "-c", FIVE_FAILURES, json.dumps(settings.APEX_UPSTREAMS)]
    environment = environment_of(
        REDIS_URL=settings.REDIS_URL,
        DJANGO_SETTINGS_MODULE="voxsite.settings",
        VOXSITE_ENV="development",
        VOXSITE_DATA_DIR=str(tmp_path),
    )
    subprocess.run(command, cwd=PROJECT_DIR, env=environment, check=True, timeout=60)
    assert upstream_server.paths.count("/first/chat/completions") == 5
    assert ask("normal 1")[0] == "two"

    # The rest is over, and another process tries already.
    redis_of_tests.delete("voxsite:breaker:one:rest")
    assert shared_breakers.may_try("one", recovery_seconds=100)
    _look_again()
    assert ask("normal 1")[0] == "two"
    # Now it is this one, and all are told that it went well.
    redis_of_tests.delete("voxsite:breaker:one:rest")
    _look_again()
    assert ask("normal 1")[0] == "one"
    _wait_until(lambda: shared_breakers.seconds_open(["one"]) == [None])


def test_process_learns_that_another_one_closed_the_breaker(upstream_server):
    for _ in range(5):
        ask("first-status 401")
    _wait_until(lambda: shared_breakers.seconds_open(["one"]) != [None])
    shared_breakers.note_closed("one")
    _look_again()
    assert ask("normal 1")[0] == "one"


def test_without_redis_a_process_has_breakers_of_its_own(settings, tmp_path, upstream_server):
    settings.REDIS_URL = f"unix://{tmp_path}/nowhere.sock"
    for _ in range(6):
        ask("first-status 401")
    assert upstream_server.paths.count("/first/chat/completions") == 5


def _look_again():
    """Have the next request look at what other processes say."""
    upstream._learned_at = -math.inf


def _wait_until(is_true):
    ends_at = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def test_repr_hides_the_api_key(settings):
    assert "k1" not in repr(upstream.upstreams())
