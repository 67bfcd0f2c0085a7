"""The number of open requests of a kind per organization, in this process. Pure: no Django. Thread-safe."""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_lock = threading.Lock()
# Acquired slots by key. A key without any has no entry.
_in_use: dict[Hashable, int] = {}


class ConcurrencySlot:
    """The slot of one open request among those of its key, which is a kind of request and an organization."""

    __slots__ = ("_is_released", "_key")

    def __init__(self) -> None:
        self._key: Hashable | None = None
        self._is_released = False

    def acquire(self, key: Hashable, *, limit: int) -> bool:
        """Acquire a slot unless `limit` are in use. Idempotent; returns False after release()."""
        with _lock:
            if self._key is not None or self._is_released:
                return not self._is_released
            in_use = _in_use.get(key, 0)
            if in_use >= limit:
                return False
            _in_use[key] = in_use + 1
            self._key = key
            return True

    def release(self) -> None:
        """Release the slot if it was acquired. Idempotent.

        After release, acquire() always fails, so a late admission cannot leak a slot.
        """
        with _lock:
            if self._key is not None and not self._is_released:
                _in_use[self._key] -= 1
                if not _in_use[self._key]:
                    del _in_use[self._key]
            self._is_released = True


_slot_of_request: ContextVar[ConcurrencySlot] = ContextVar("slot_of_request")


@contextmanager
def request() -> Iterator[None]:
    """Give a request its slot, and release the slot when the request is over, however it ended.

    A client can leave at any moment. Its response is then perhaps made and never sent, iterated or closed.
    """
    slot = ConcurrencySlot()
    token = _slot_of_request.set(slot)
    try:
        yield
    finally:
        _slot_of_request.reset(token)
        slot.release()


def slot_of_request() -> ConcurrencySlot:
    """Return the slot of the current request. It may be released before the request is over."""
    return _slot_of_request.get(None) or ConcurrencySlot()


def slots_in_use(key: Hashable) -> int:
    """Return how many slots of the key are acquired."""
    return _in_use.get(key, 0)
