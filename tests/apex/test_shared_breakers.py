"""What processes tell each other of upstreams that fail."""

import pytest

from accounts import redis_connections
from apex import shared_breakers


def test_open_breaker_is_known_until_a_success_closes_it():
    assert shared_breakers.seconds_open(["one", "two"]) == [None, None]
    shared_breakers.note_open("one", recovery_seconds=100)
    one, two = shared_breakers.seconds_open(["one", "two"])
    assert 90 < one <= 100
    assert two is None
    shared_breakers.note_closed("one")
    assert shared_breakers.seconds_open(["one"]) == [None]


def test_one_process_tries_when_the_rest_is_over(redis_of_tests):
    shared_breakers.note_open("one", recovery_seconds=100)
    assert not shared_breakers.may_try("one", recovery_seconds=100)
    redis_of_tests.delete("voxsite:breaker:one:rest")
    assert shared_breakers.seconds_open(["one"]) == [0]
    assert [shared_breakers.may_try("one", recovery_seconds=100) for _ in range(3)] == [True, False, False]
    # Others rest while it tries.
    assert shared_breakers.seconds_open(["one"])[0] > 90


@pytest.fixture
def silent_redis(settings, tmp_path):
    settings.REDIS_URL = f"unix://{tmp_path}/nowhere.sock"
    yield
    redis_connections.forget()


def test_without_redis_each_process_decides_for_itself(silent_redis):
    shared_breakers.note_open("one", recovery_seconds=100)
    shared_breakers.note_closed("one")
    assert shared_breakers.seconds_open(["one"]) is None
    assert shared_breakers.may_try("one", recovery_seconds=100)
