"""A Redis that hangs keeps one request waiting, and none after it, and is used again as soon as it answers."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest
from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from accounts import redis_connections
from accounts.redis_connections import Resting
from tests.product import PROJECT_DIR, environment_of
from voxsite.serve import embedded_redis

# Asks a Redis that is away while no thread can be started, and then once more.
WITHOUT_THREADS = """
import resource, threading, django
django.setup()
from redis.exceptions import RedisError
from accounts import redis_connections
client, outage = redis_connections.client(), redis_connections._outage
def ask():
    try:
        client.ping()
    except RedisError as error:
        return f"{type(error).__name__} {outage.rest.is_on} {outage._asking is not None and outage._asking.is_alive()}"
limits = resource.getrlimit(resource.RLIMIT_AS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
threading.stack_size(1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), limits[1]))
print(*{ask() for _ in range(redis_connections.MAX_CONNECTIONS + 1)}, sep=", ")
resource.setrlimit(resource.RLIMIT_AS, limits)
threading.stack_size(0)
print(ask())
"""


@pytest.fixture
def own_redis(settings, tmp_path):
    """A Redis that this test may freeze."""
    process, settings.REDIS_URL = embedded_redis.start(tmp_path)
    try:
        yield process
    finally:
        psutil.Process(process.pid).resume()
        embedded_redis.stop(process)


@contextmanager
def frozen(process) -> Iterator[None]:
    psutil.Process(process.pid).suspend()
    try:
        yield
    finally:
        psutil.Process(process.pid).resume()


def wait_until_asked_again():
    """Wait until the rest is over. Nothing asks meanwhile but the thread whose business it is."""
    deadline = time.monotonic() + 30
    while redis_connections._outage.rest.is_on:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory")
def test_redis_does_not_rest_while_no_thread_can_end_the_rest(tmp_path):
    environment = environment_of(
        REDIS_URL=f"unix://{tmp_path}/none.sock",
        DJANGO_SETTINGS_MODULE="voxsite.settings",
        VOXSITE_ENV="development",
        VOXSITE_DATA_DIR=str(tmp_path),
    )
    command = [sys.executable, "-c", WITHOUT_THREADS]
    done = subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["ConnectionError False False", "ConnectionError True True"], done.stderr


@pytest.mark.long
@pytest.mark.enable_socket
def test_one_time_out_speaks_for_all_uses_and_redis_is_used_again_when_it_answers(own_redis):
    client = redis_connections.client()
    assert client.ping()
    with frozen(own_redis):
        with pytest.raises(RedisError) as first:
            client.ping()
        assert not isinstance(first.value, Resting)
        # Whatever asks next, and whatever pool it has, is told at once.
        other = Redis(connection_pool=redis_connections.Pool.from_url("redis://127.0.0.1:1/0"))
        for each in (client, other, client):
            with pytest.raises(Resting):
                each.ping()
    wait_until_asked_again()
    assert client.ping()


@pytest.mark.long
@pytest.mark.enable_socket
def test_no_request_asks_while_redis_hangs(own_redis):
    """A thread of its own finds out when Redis is back. Requests are told at once, also long after the first."""
    client = redis_connections.client()
    with frozen(own_redis):
        with pytest.raises(RedisError):
            client.ping()
        asked = []
        ends_at = time.monotonic() + 3 * redis_connections.ANSWER_SECONDS
        while time.monotonic() < ends_at:
            with pytest.raises(RedisError) as told:
                client.ping()
            asked.append(type(told.value))
        assert set(asked) == {Resting}
    wait_until_asked_again()


def test_one_thread_asks_and_ends_with_the_rest():
    redis_connections.rest()
    redis_connections.rest()
    asking = [thread for thread in threading.enumerate() if thread.name == "redis-outage"]
    assert len(asking) == 1
    redis_connections.forget()
    assert not asking[0].is_alive()
    assert redis_connections.client().ping()
    # And the next rest has a thread again.
    redis_connections.rest()
    assert any(thread.name == "redis-outage" for thread in threading.enumerate())


def test_pool_without_a_free_connection_begins_no_rest():
    """Nobody has asked Redis then. Those who have the connections may be answered."""
    pool = redis_connections.Pool.from_url(settings.REDIS_URL, max_connections=1, timeout=0)
    taken = pool.get_connection()
    with pytest.raises(RedisError) as full:
        pool.get_connection()
    assert not isinstance(full.value, Resting)
    assert redis_connections.client().ping()
    pool.release(taken)
    assert Redis(connection_pool=pool).ping()
    pool.disconnect()


def test_who_waited_for_a_connection_is_told_what_its_owner_learned():
    pool = redis_connections.Pool.from_url(settings.REDIS_URL, max_connections=1, timeout=30)
    taken = pool.get_connection()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(Redis(connection_pool=pool).ping)
        # So redis-py gives back a connection that had no answer.
        taken.disconnect()
        pool.release(taken)
        with pytest.raises(Resting):
            waiting.result()
    redis_connections.forget()
    assert Redis(connection_pool=pool).ping(), "the connection was given back"
    pool.disconnect()


def test_what_is_told_once_is_told_also_while_redis_rests():
    redis_connections.rest()
    with pytest.raises(Resting):
        redis_connections.client().ping()
    assert redis_connections.asking_client().ping()
    # And its answer speaks for all.
    assert redis_connections.client().ping()


def test_answer_that_is_an_error_is_an_answer():
    client = redis_connections.client()
    with pytest.raises(RedisError):
        client.execute_command("NOSUCH")
    assert client.ping()


def test_full_redis_rests_for_a_moment():
    client = redis_connections.client()
    assert client.ping()
    redis_connections.rest()
    with pytest.raises(Resting):
        client.ping()
    wait_until_asked_again()
    assert client.ping()
