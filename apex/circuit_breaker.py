"""A circuit breaker: stops requests to an upstream that keeps failing. Pure; the clock is passed in.

Which answers count as a failure is known to the caller (`upstream.ask`), and so is how long an upstream is skipped
(settings.APEX_RECOVERY_SECONDS).
"""

from dataclasses import dataclass
from enum import Enum

FAILURE_THRESHOLD = 5


class State(Enum):
    """closed: requests pass. open: none passes. half_open: one request may test whether the upstream has recovered."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True)
class CircuitBreaker:
    """The breaker of one upstream.

    It opens after `failure_threshold` consecutive failures. After `recovery_seconds` it is half-open: one request may
    pass. The success of that request closes the breaker; its failure opens it again.
    """

    recovery_seconds: float
    failure_threshold: int = FAILURE_THRESHOLD
    _consecutive_failures: int = 0
    _retry_at: float = 0.0

    def state(self, *, now: float) -> State:
        if self._consecutive_failures < self.failure_threshold:
            return State.CLOSED
        return State.OPEN if now < self._retry_at else State.HALF_OPEN

    def admits(self, *, now: float) -> bool:
        """Return whether a request may go to the upstream now. A half-open breaker admits one and is open again."""
        state = self.state(now=now)
        if state is State.HALF_OPEN:
            self._retry_at = now + self.recovery_seconds
        return state is not State.OPEN

    def record_success(self) -> None:
        self._consecutive_failures = 0

    def record_failure(self, *, now: float) -> None:
        self._consecutive_failures += 1
        if self._consecutive_failures >= self.failure_threshold:
            self._retry_at = now + self.recovery_seconds
