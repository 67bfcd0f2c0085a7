"""How many requests may be open at once: in all, to one organization's receivers, to one of them. Pure.

A receiver is a host of an organization. Two customers may use the same host, such as a service for automation; one of
them with a dead path there does not slow the other.
"""

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

# More are forgotten together; each is found out again by one request.
MAX_SILENT = 10_000


@dataclass(frozen=True, slots=True)
class Receiver:
    """organization: its id. host: with the port."""

    organization: UUID
    host: str


class Lanes:
    """Counts what one deliverer has open."""

    def __init__(self, *, max_open: int = 256, max_per_organization: int = 16, max_per_receiver: int = 6) -> None:
        self._max_open = max_open
        self._max_per_organization = max_per_organization
        self._max_per_receiver = max_per_receiver
        self._receivers: Counter[Receiver] = Counter()
        self._organizations: Counter[UUID] = Counter()
        # Receivers that did not answer the last time: each request there may take the whole time limit.
        self._silent: set[Receiver] = set()

    def has_room(self) -> bool:
        return self._organizations.total() < self._max_open

    def enter(self, receiver: Receiver) -> bool:
        """Count a request that is to be sent. Returns False if it must wait."""
        if not self.has_room() or self._is_full(receiver):
            return False
        self._receivers[receiver] += 1
        self._organizations[receiver.organization] += 1
        return True

    def leave(self, receiver: Receiver, *, answered: bool | None = None) -> None:
        """Count a request that has ended. answered: whether anything came back; None if it was not sent."""
        self._receivers -= Counter([receiver])
        self._organizations -= Counter([receiver.organization])
        if answered:
            self._silent.discard(receiver)
        elif answered is not None:
            if len(self._silent) >= MAX_SILENT:
                self._silent.clear()
            self._silent.add(receiver)

    def full_organizations(self) -> list[UUID]:
        return [key for key, count in self._organizations.items() if count >= self._max_per_organization]

    def full_receivers(self) -> list[Receiver]:
        return [receiver for receiver in self._receivers if self._is_full_receiver(receiver)]

    def _is_full(self, receiver: Receiver) -> bool:
        return self._organizations[receiver.organization] >= self._max_per_organization or self._is_full_receiver(
            receiver
        )

    def _is_full_receiver(self, receiver: Receiver) -> bool:
        return self._receivers[receiver] >= (1 if receiver in self._silent else self._max_per_receiver)
