from apex.circuit_breaker import Breaker


def test_rests_after_failures_in_a_row_and_lets_one_try():
    breaker = Breaker(failures=3, rest_seconds=10)
    for now in (0, 1):
        breaker.failed(now=now)
        assert breaker.admits(now=now)
    breaker.failed(now=2)
    assert not breaker.admits(now=11.9)
    assert breaker.admits(now=12)
    # The one that tries is out; no other goes with it.
    assert not breaker.admits(now=12.1)
    assert breaker.admits(now=22)


def test_success_closes_it():
    breaker = Breaker(failures=3, rest_seconds=10)
    for _ in range(3):
        breaker.failed(now=0)
    assert breaker.admits(now=10)
    breaker.succeeded()
    assert breaker.admits(now=10)
    assert breaker.admits(now=10)


def test_failures_that_are_not_in_a_row_do_not_open_it():
    breaker = Breaker(failures=2)
    for now in range(10):
        breaker.failed(now=now)
        breaker.succeeded()
    assert breaker.admits(now=10)
