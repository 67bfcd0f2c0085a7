"""How many completions each organization has open, in this process. Pure: no Django, no database, safe in threads."""

import threading
from collections.abc import Hashable

_lock = threading.Lock()
# By organization; nobody has a zero.
_taken: dict[Hashable, int] = {}


class Seat:
    """One completion's place among those of its organization."""

    __slots__ = ("_has_left", "_organization_id")

    def __init__(self) -> None:
        self._organization_id: Hashable | None = None
        self._has_left = False

    def take(self, organization_id: Hashable, *, most: int) -> bool:
        """Take a place if fewer than `most` are taken. Once more changes nothing; whoever has left gets none."""
        with _lock:
            if self._organization_id is not None or self._has_left:
                return not self._has_left
            taken = _taken.get(organization_id, 0)
            if taken >= most:
                return False
            _taken[organization_id] = taken + 1
            self._organization_id = organization_id
            return True

    def leave(self) -> None:
        """Give the place back, if one was taken. It is no seat any more: a beginning that comes too late finds none."""
        with _lock:
            if self._organization_id is not None and not self._has_left:
                _taken[self._organization_id] -= 1
                if not _taken[self._organization_id]:
                    del _taken[self._organization_id]
            self._has_left = True


def taken(organization_id: Hashable) -> int:
    """Return how many places are taken."""
    return _taken.get(organization_id, 0)
