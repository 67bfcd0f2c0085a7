"""The cache while Redis does not answer."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from redis import Redis

from accounts import redis_connections
from voxsite.fallback_cache import FallbackCache


@pytest.fixture
def cut_off() -> BaseCache:
    """A cache whose Redis is not there."""
    cache = FallbackCache("redis://127.0.0.1:1/0", {"KEY_PREFIX": "cut-off"})
    # All caches of the process share it.
    cache._own.clear()
    return cache


@pytest.mark.enable_socket
def test_cache_without_redis_is_the_processs_own(cut_off):
    assert cut_off.get("attempts", 0) == 0
    assert cut_off.add("attempts", 1)
    assert not cut_off.add("attempts", 1), "limits and used codes hold in each process"
    assert cut_off.incr("attempts") == 2
    cut_off.set_many({"a": 1, "b": 2})
    assert cut_off.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    assert cut_off.has_key("a")
    assert cut_off.touch("a", 60)
    cut_off.delete_many(["a", "b"])
    assert cut_off.delete("attempts")
    assert cut_off.get("attempts") is None
    with pytest.raises(ValueError, match="not found"):
        cut_off.incr("nothing")


@pytest.mark.long
@pytest.mark.enable_socket
def test_many_foreign_keys_evict_none(cut_off):
    cut_off.set("attempts", 9)
    for number in range(10_000):
        cut_off.set(f"stranger-{number}", 1)
    assert cut_off.get("attempts") == 9


@pytest.mark.enable_socket
def test_redis_is_asked_again_after_a_rest(cut_off):
    cut_off.set("name", "own")
    with pytest.raises(redis_connections.Resting):
        redis_connections.client().ping()
    redis_connections.forget()
    caches["default"].set("name", "shared")
    assert caches["default"].get("name") == "shared"
    assert cut_off.get("name") == "own"


@pytest.mark.enable_socket
def test_threads_use_the_connections_that_requests_have():
    """Django would make a pool for each thread that ever used the cache."""

    def ask(number: int) -> tuple[int, Redis]:
        caches["default"].set(f"number-{number}", number)
        return caches["default"].get(f"number-{number}"), caches["default"]._cache.get_client()

    with ThreadPoolExecutor(2 * redis_connections.MAX_CONNECTIONS) as threads:
        answers = list(threads.map(ask, range(100)))
    assert [number for number, _ in answers] == list(range(100))
    client = redis_connections.client()
    assert all(used is client for _, used in answers)
    made = [connection for connection in client.connection_pool._connections if connection is not None]
    assert 1 <= len(made) <= redis_connections.MAX_CONNECTIONS
