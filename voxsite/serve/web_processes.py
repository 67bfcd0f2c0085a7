"""Several web processes of one host: a parent that listens, forks them, and starts each again that ends.

All of them accept connections of the parent's sockets. A connection that nobody has accepted yet waits in the kernel,
whichever process ends, and a busy one takes no more than it can. Rejected: `SO_REUSEPORT`, with which each process has
a queue of its own. What waits in it is refused when that process ends (docs/decisions/0080).
"""

import logging
import mmap
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkProcess

import setproctitle

from voxsite.serve import lifetime

logger = logging.getLogger(__name__)

# Connections that wait for a process to accept them, of each socket. The kernel may allow fewer.
BACKLOG = 2048
# A process that ends sooner than this is started again after 1, 2, 3 ... seconds, at most MAX_PAUSE_SECONDS.
STARTED_SECONDS = 2.0
MAX_PAUSE_SECONDS = 30.0
_PASSED_ON = (signal.SIGTERM, signal.SIGINT)
_AWAITED = {*_PASSED_ON, signal.SIGCHLD}


class HostStops:
    """Whether the whole web of this host has been told to end. A fork sees what the parent says later."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def begin(self) -> None:
        self._byte[0] = 1

    def __bool__(self) -> bool:
        return bool(self._byte[0])


@dataclass(frozen=True)
class ProcessContext:
    """What the parent gives to one of its web processes. number: from 1 on; who comes after it has the same."""

    number: int
    sockets: list[socket.socket]
    host_stops: HostStops


def listen(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of a host. Raises OSError."""
    found = dict.fromkeys(
        (family, address[:2]) for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    return [
        socket.create_server((str(name), int(number)), family=family, backlog=BACKLOG)
        for family, (name, number) in found
    ]


def run(serve: Callable[[ProcessContext], None], *, count: int, sockets: list[socket.socket]) -> None:
    """Run `count` processes that serve, until SIGTERM or SIGINT has ended all of them. The signal is passed on to each.

    serve: called in each process; the process ends when it returns.
    """
    _Parent(serve, count=count, sockets=sockets).run()


class _Parent:
    """The parent. It waits for signals only, which are blocked, so that none comes between a fork and the next line."""

    def __init__(self, serve: Callable[[ProcessContext], None], *, count: int, sockets: list[socket.socket]) -> None:
        self._serve = serve
        self._sockets = sockets
        self._host_stops = HostStops()
        self._title = setproctitle.getproctitle()
        # By number: when a process is to be started, and those that run with the time of their start.
        self._due_at = dict.fromkeys(range(1, count + 1), 0.0)
        self._running: dict[int, tuple[ForkProcess, float]] = {}
        self._early_ends = dict.fromkeys(self._due_at, 0)

    def run(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        try:
            while self._running or not self._host_stops:
                if not self._host_stops:
                    self._start_due()
                told = signal.sigtimedwait(_AWAITED, self._seconds_until_due())
                if told is not None and told.si_signo in _PASSED_ON:
                    self._pass_on(signal.Signals(told.si_signo))
                self._reap()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _start_due(self) -> None:
        for number in [number for number, due_at in self._due_at.items() if due_at <= time.monotonic()]:
            process = multiprocessing.get_context("fork").Process(target=self._run_child, args=(number, os.getpid()))
            try:
                process.start()
            except OSError as error:
                # No memory, no process or no descriptor is left. What runs serves on: this must not end the parent.
                # Each such failure may leave four descriptors of multiprocessing open, so the pauses grow.
                self._early_ends[number] += 1
                pause = self._pause_of(number)
                self._due_at[number] = time.monotonic() + pause
                logger.error("web-%s cannot be started (%s); trying again in %.0f s", number, error, pause)  # noqa: TRY400
                continue
            del self._due_at[number]
            self._running[number] = (process, time.monotonic())

    def _run_child(self, number: int, parent_pid: int) -> None:
        """Run in the fork: serve, until this process is told to end."""
        lifetime.die_with_parent(parent_pid=parent_pid)
        # A group of its own: a signal to the group of the parent would come once more from there, and a second one
        # means that nobody wants to wait (docs/decisions/0078).
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        setproctitle.setproctitle(f"{self._title} {number}")
        # Which process logs (`voxsite.logs`).
        os.environ["SUPERVISOR_PROCESS_NAME"] = f"web-{number}"
        self._serve(ProcessContext(number=number, sockets=self._sockets, host_stops=self._host_stops))

    def _pause_of(self, number: int) -> float:
        return min(MAX_PAUSE_SECONDS, float(self._early_ends[number]))

    def _seconds_until_due(self) -> float:
        soonest = min(self._due_at.values(), default=float("inf"))
        return min(MAX_PAUSE_SECONDS, max(0.0, soonest - time.monotonic()))

    def _pass_on(self, told: signal.Signals) -> None:
        self._host_stops.begin()
        for process, _ in self._running.values():
            assert process.pid is not None, "it was started"
            # It is our child, and has this id until it is reaped.
            os.kill(process.pid, told)

    def _reap(self) -> None:
        now = time.monotonic()
        for number, (process, started_at) in list(self._running.items()):
            if process.is_alive():
                continue
            del self._running[number]
            status = process.exitcode
            process.close()
            if self._host_stops:
                continue
            self._early_ends[number] = self._early_ends[number] + 1 if now - started_at < STARTED_SECONDS else 0
            pause = self._pause_of(number)
            self._due_at[number] = now + pause
            logger.warning("web-%s ended (%s); starting it again in %.0f s", number, status, pause)
