from apex.circuit_breaker import CircuitBreaker


def test_opens_after_consecutive_failures_and_then_admits_one():
    breaker = CircuitBreaker(failure_threshold=3, recovery_seconds=10)
    for now in (0, 1):
        breaker.record_failure(now=now)
        assert breaker.admits(now=now)
    breaker.record_failure(now=2)
    assert not breaker.admits(now=11.9)
    assert breaker.admits(now=12)
    # Only one request passes while the breaker is half-open.
    assert not breaker.admits(now=12.1)
    assert breaker.admits(now=22)


def test_success_closes_it():
    breaker = CircuitBreaker(failure_threshold=3, recovery_seconds=10)
    for _ in range(3):
        breaker.record_failure(now=0)
    assert breaker.admits(now=10)
    breaker.record_success()
    assert breaker.admits(now=10)
    assert breaker.admits(now=10)


def test_failures_that_are_not_consecutive_do_not_open_it():
    breaker = CircuitBreaker(failure_threshold=2)
    for now in range(10):
        breaker.record_failure(now=now)
        breaker.record_success()
    assert breaker.admits(now=10)
