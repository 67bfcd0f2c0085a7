"""The number of open completions per organization, in this process. Pure: no Django, no database. Thread-safe."""

import threading
from collections.abc import Hashable

_lock = threading.Lock()
# Open completions by organization id. An organization without any has no entry.
_in_use: dict[Hashable, int] = {}


class ConcurrencySlot:
    """The slot of one completion among those of its organization."""

    __slots__ = ("_is_released", "_organization_id")

    def __init__(self) -> None:
        self._organization_id: Hashable | None = None
        self._is_released = False

    def acquire(self, organization_id: Hashable, *, limit: int) -> bool:
        """Acquire a slot unless `limit` are in use. Idempotent; returns False after release()."""
        with _lock:
            if self._organization_id is not None or self._is_released:
                return not self._is_released
            in_use = _in_use.get(organization_id, 0)
            if in_use >= limit:
                return False
            _in_use[organization_id] = in_use + 1
            self._organization_id = organization_id
            return True

    def release(self) -> None:
        """Release the slot if it was acquired. Idempotent.

        After release, acquire() always fails, so a late admission cannot leak a slot.
        """
        with _lock:
            if self._organization_id is not None and not self._is_released:
                _in_use[self._organization_id] -= 1
                if not _in_use[self._organization_id]:
                    del _in_use[self._organization_id]
            self._is_released = True


def slots_in_use(organization_id: Hashable) -> int:
    """Return how many slots of the organization are acquired."""
    return _in_use.get(organization_id, 0)
