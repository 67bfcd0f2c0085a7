"""The number of open requests of a kind per organization, in this process. Pure: no Django. Thread-safe.

`shared_slots` counts those of all processes.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_lock = threading.Lock()
# Acquired slots by key. A key without any has no entry.
_in_use: dict[Hashable, int] = {}


class ConcurrencySlot:
    """The slot of one open request among those of its key, which is a kind of request and an organization."""

    __slots__ = ("_is_released", "_key", "_on_release")

    def __init__(self) -> None:
        self._key: Hashable | None = None
        self._is_released = False
        self._on_release: Callable[[], None] | None = None

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

    def on_release(self, act: Callable[[], None]) -> bool:
        """Have `act` called once, when the slot is released. It was: call it now, and return False."""
        with _lock:
            if not self._is_released:
                assert self._on_release is None, "a request has one slot of one kind"
                self._on_release = act
                return True
        act()
        return False

    def release(self) -> None:
        """Release the slot if it was acquired. Idempotent.

        After release, acquire() always fails, so a late admission cannot leak a slot.
        """
        with _lock:
            act, self._on_release = self._on_release, None
            if self._key is not None and not self._is_released:
                _in_use[self._key] -= 1
                if not _in_use[self._key]:
                    del _in_use[self._key]
            self._is_released = True
        if act is not None:
            act()


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
