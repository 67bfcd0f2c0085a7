"""A circuit breaker: an upstream that keeps failing is left alone for a while. Pure; the clock is passed in."""

from dataclasses import dataclass

FAILURES = 5
REST_SECONDS = 15.0


@dataclass(slots=True)
class Breaker:
    """Open after `failures` in a row; after `rest_seconds` one request may try, and its outcome decides."""

    failures: int = FAILURES
    rest_seconds: float = REST_SECONDS
    _in_a_row: int = 0
    _closed_from: float = 0.0

    def admits(self, *, now: float) -> bool:
        """Tell whether a request may go to this upstream. While it rests, one in `rest_seconds` may."""
        if self._in_a_row < self.failures:
            return True
        if now < self._closed_from:
            return False
        self._closed_from = now + self.rest_seconds
        return True

    def succeeded(self) -> None:
        self._in_a_row = 0

    def failed(self, *, now: float) -> None:
        self._in_a_row += 1
        if self._in_a_row >= self.failures:
            self._closed_from = now + self.rest_seconds
