from apex.circuit_breaker import CircuitBreaker, State


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
    breaker = CircuitBreaker(failure_threshold=2, recovery_seconds=10)
    for now in range(10):
        breaker.record_failure(now=now)
        breaker.record_success()
    assert breaker.admits(now=10)


def test_is_half_open_after_the_recovery_time_until_one_request_was_admitted():
    breaker = CircuitBreaker(failure_threshold=2, recovery_seconds=10)
    breaker.record_failure(now=0)
    assert breaker.state(now=0) is State.CLOSED
    breaker.record_failure(now=1)
    assert breaker.state(now=1) is breaker.state(now=10.9) is State.OPEN
    assert breaker.state(now=11) is State.HALF_OPEN
    assert breaker.admits(now=11)
    assert breaker.state(now=11) is State.OPEN
    breaker.record_failure(now=12)
    assert breaker.state(now=21.9) is State.OPEN
    assert breaker.state(now=22) is State.HALF_OPEN
    breaker.record_success()
    assert breaker.state(now=22) is State.CLOSED


def test_breaker_says_when_it_opens_and_when_it_closes():
    breaker = CircuitBreaker(failure_threshold=2, recovery_seconds=10)
    assert [breaker.record_failure(now=0), breaker.record_failure(now=0), breaker.record_failure(now=5)] == [
        False,
        True,
        True,
    ]
    assert breaker.state(now=14) is State.OPEN
    assert [breaker.record_success(), breaker.record_success()] == [True, False]


def test_breaker_that_another_process_opened_is_open_until_then():
    breaker = CircuitBreaker(failure_threshold=2, recovery_seconds=10)
    breaker.open(until=4)
    assert breaker.state(now=3.9) is State.OPEN
    assert breaker.state(now=4) is State.HALF_OPEN
    assert breaker.record_success()
    assert breaker.state(now=4) is State.CLOSED
