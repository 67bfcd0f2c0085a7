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

    def record_success(self) -> bool:
        """Close the breaker. Returns whether it was not closed before."""
        was_open = self._consecutive_failures >= self.failure_threshold
        self._consecutive_failures = 0
        return was_open

    def record_failure(self, *, now: float) -> bool:
        """Count a failure. Returns whether the breaker is open by it."""
        self._consecutive_failures += 1
        if self._consecutive_failures < self.failure_threshold:
            return False
        self._retry_at = now + self.recovery_seconds
        return True

    def open(self, *, until: float) -> None:
        """Be open until then, as another process found, and half-open after it."""
        self._consecutive_failures = max(self._consecutive_failures, self.failure_threshold)
        self._retry_at = until
