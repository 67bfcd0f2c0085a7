"""Who may probe when: places for the children that read uploads, shared fairly among organizations.

A file does not say how much work it is to measure: 23 MB can hold 4 hours in millions of packets. So each probe begins
in the first lane of `LANES`, with a small budget of CPU time. One that needs more is ended there and begins again in
the next lane, which has more time, places of its own, and a lower priority in the operating system. What is quick to
measure never waits for what is slow.

A lane gives its places to organizations in turn, and never all of them to one organization if it has several. An
organization's smallest file goes first. All of this counts for one process, and the web processes
of a host divide its places (decisions 30 and 80).
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.conf import settings

from transcription.speech import probing


class LaneFull(Exception):
    """Too many wait already. is_own: it is the owner's own ones."""

    def __init__(self, *, is_own: bool) -> None:
        super().__init__()
        self.is_own = is_own


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in a lane, or a claim to one. overtaken: how many of the same owner got a place before their turn."""

    owner: Hashable
    size: int
    overtaken: int = 0
    may_start: threading.Event = field(default_factory=threading.Event)

    @property
    def has_place(self) -> bool:
        return self.may_start.is_set()


# A file may be overtaken by so many smaller ones of its organization.
MAX_OVERTAKEN = 8


class Lane:
    """Places for probes of one size of budget. Safe in threads."""

    def __init__(
        self,
        *,
        cpu_seconds: float,
        places: int,
        max_waiting: int,
        max_waiting_each: int,
        retry_seconds: int,
        niceness: int = 0,
    ) -> None:
        """cpu_seconds: what one probe may use. retry_seconds: what somebody is told for whom there is no room.

        max_waiting_each: how many may wait of one owner; max_waiting: of all owners together.
        """
        self.cpu_seconds = cpu_seconds
        self.niceness = niceness
        self.retry_seconds = retry_seconds
        self._places = places
        self._max_running_each = max(1, places - 1)
        self._max_waiting = max_waiting
        self._max_waiting_each = max_waiting_each
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Hashable, list[Ticket]] = OrderedDict()  # the owner whose turn it is comes first
        self._running: Counter[Hashable] = Counter()

    @contextmanager
    def place(self, owner: Hashable, *, size: int) -> Iterator[None]:
        """Wait for a place, and hold it for as long as the block runs. Raises LaneFull at once, without waiting.

        size: the smallest of an owner's goes first.
        """
        ticket = self.ask(owner, size=size)
        try:
            ticket.may_start.wait()
            yield
        finally:
            self.leave(ticket)

    def ask(self, owner: Hashable, *, size: int) -> Ticket:
        """Return a ticket, which has a place at once or later; it must be given to `leave`. Raises LaneFull."""
        with self._lock:
            self._require_room(owner)
            ticket = Ticket(owner, size)
            self._waiting.setdefault(owner, []).append(ticket)
            self._start_next()
            return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give the place of a ticket to the next one, or wait for it no longer."""
        with self._lock:
            if ticket.has_place:
                self._running[ticket.owner] -= 1
                if not self._running[ticket.owner]:
                    del self._running[ticket.owner]
            else:
                self._remove(ticket)
            self._start_next()

    def require_room(self, owner: Hashable) -> None:
        """Raise LaneFull if `place` would raise it now."""
        with self._lock:
            self._require_room(owner)

    def _require_room(self, owner: Hashable) -> None:
        if len(self._waiting.get(owner, ())) >= self._max_waiting_each:
            raise LaneFull(is_own=True)
        if sum(map(len, self._waiting.values())) >= self._max_waiting:
            raise LaneFull(is_own=False)

    def _start_next(self) -> None:
        while self._running.total() < self._places:
            owner = next((one for one in self._waiting if self._running[one] < self._max_running_each), None)
            if owner is None:
                return
            tickets = self._waiting[owner]
            chosen = next(
                (one for one in tickets if one.overtaken >= MAX_OVERTAKEN), min(tickets, key=lambda one: one.size)
            )
            for one in tickets[: tickets.index(chosen)]:
                one.overtaken += 1
            self._remove(chosen)
            if owner in self._waiting:
                self._waiting.move_to_end(owner)
            self._running[owner] += 1
            chosen.may_start.set()

    def _remove(self, ticket: Ticket) -> None:
        tickets = self._waiting[ticket.owner]
        tickets.remove(ticket)
        if not tickets:
            del self._waiting[ticket.owner]


def _cores() -> int:
    """Return how many cores of the host fall to this process, if web has several (at least one)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // settings.WEB_PROCESSES)


# Half of the cores probe quickly, and few are busy for long: the pages and the engine need the others. 0.2 s of CPU
# time measure ten minutes of MP3, and 20 s measure ten hours. What begins again has wasted little more than a tenth.
LANES = (
    Lane(
        cpu_seconds=0.2,
        places=max(1, _cores() // 2),
        max_waiting=1024,
        max_waiting_each=256,  # somebody may send 200 files at once
        retry_seconds=5,
    ),
    Lane(
        cpu_seconds=2,
        places=max(1, _cores() // 4),
        max_waiting=128,
        max_waiting_each=32,
        retry_seconds=15,
        niceness=5,
    ),
    Lane(
        cpu_seconds=20,
        places=max(1, _cores() // 8),
        max_waiting=64,
        max_waiting_each=8,
        retry_seconds=60,
        niceness=10,
    ),
    Lane(
        cpu_seconds=probing.PROBE_CPU_SECONDS,
        places=max(1, _cores() // 8),
        max_waiting=32,
        max_waiting_each=4,
        # OpenAI's package for Node takes a longer pause for none and comes back after half a second.
        retry_seconds=60,
        niceness=15,
    ),
)
