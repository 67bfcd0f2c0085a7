"""How fast the body of a request must come. Pure: the code that receives it measures how long it waited."""

# A thirtieth of what a telephone line carries (GPRS: 32 kbit/s), so 30 parts at once may share one.
MIN_BYTES = 8 * 1024
WINDOW_SECONDS = 60.0


class BodyRate:
    """Tells a body that drips from one that is slow.

    The attack: a byte each 59 seconds never looks idle, and keeps its place and its file for ever.

    It looks at the body at the end of each window of waiting, so a large beginning buys one window and no more. What
    the receiver does with the bytes is not counted: a slow disk is no fault of the sender.
    """

    def __init__(self, *, min_bytes: int = MIN_BYTES, window_seconds: float = WINDOW_SECONDS) -> None:
        """Ask for so many bytes in each window."""
        self._bytes_per_second = min_bytes / window_seconds
        self._window_seconds = window_seconds
        self._received_bytes = 0
        self._waited_seconds = 0.0

    def is_too_slow(self, *, size_bytes: int, waited_seconds: float) -> bool:
        """Count a piece of this size that was waited for. Returns whether the window that ends with it had too few."""
        self._received_bytes += size_bytes
        self._waited_seconds += waited_seconds
        if self._waited_seconds < self._window_seconds:
            return False
        is_too_slow = self._received_bytes < self._bytes_per_second * self._waited_seconds
        self._received_bytes, self._waited_seconds = 0, 0.0
        return is_too_slow
