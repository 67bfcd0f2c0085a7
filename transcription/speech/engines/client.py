"""The client of engine processes, used by workers. Requests are answered in any order.

No request is lost when an engine process dies: its successor does not know the request, so the client sends it again,
or sends it to another process. Not safe in threads. It may be created before a fork, since it connects on first use,
and a forked child opens its own connections.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from transcription.speech import errors
from transcription.speech.engines import curve, protocol

PING_SECONDS = 0.5
# The longest wait between two calls of `should_stop`.
POLL_SECONDS = 0.25
# An engine may hold the interpreter's lock for seconds while it computes. After this silence the client reconnects ...
RECONNECT_SECONDS = 20.0
# ... or gives its requests to another process, if there is one ...
FAILOVER_SECONDS = 5.0
# ... and for this long, doubled each time, uses it no more.
REST_SECONDS, MAX_REST_SECONDS = 5.0, 60.0
# A process whose model did not load tries that again after this time (`model_cache.RETRY_SECONDS`).
FAILED_REST_SECONDS = 60.0
# How often it is looked for silent processes, also while others answer.
LOOK_SECONDS = 0.5
# A connection that is not there after this time is left for another process.
CONNECT_SECONDS = 1.0
# How often it is looked for processes that run out of work while requests wait at others, and how often a request may
# be wanted back for this: what several clients know of the processes is up to a few seconds old.
BALANCE_SECONDS = 0.5
MAX_RELEASES = 3
BUSY_RETRY_SECONDS = 0.25
# How often the list of processes is read again.
REFRESH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Member:
    """An engine process of the list that a client may use.

    waiting: how many requests it had a moment ago. batch: how many of them it answers at once; 0 if nobody has said so.
    has_model: whether it has loaded the model that the client wants; None if nobody has said so.
    """

    address: str
    waiting: int = 0
    batch: int = 0
    has_model: bool | None = None


# Returns the processes that may be used, the best ones first. It is called again and again, and must not wait.
Roster = Callable[[], Sequence[Member]]


class EngineClient:
    """Sends requests to engine processes: each to the least busy of at most `spread` at once.

    Requests that wait in line at one process while another one runs out of work are moved there (`_balance`).

    members: addresses, as `protocol.endpoint` reads them, or a function that returns who is there now. A process that
    is silent is left, and another one gets its requests.
    timeout_seconds: EngineUnavailable is raised after this time without any answering process. There is no limit while
    a process works on requests, ours or others': the process itself detects work that is stuck
    (`recogniser.STUCK_SECONDS`).
    should_stop: called at least every half second while waiting. When it returns true, `receive` raises Stopped; an
    exception passes through `receive`.
    model: whose description in a pong counts. Only processes that have loaded it are used, or one that has not, if none
    has. A process that answers EngineUnavailable is left like a silent one; the error is raised if it was the last.
    Where the model did not load, it may be loaded again after `failed_rest_seconds`.
    loaded_at: address of a process that is known to have loaded the model.
    in_flight: requests in progress at a process that has not said its own.
    secret_key: of this client, for addresses over TCP.
    draw: returns a random number from 0 to 1.
    """

    def __init__(
        self,
        members: Sequence[str] | Roster,
        *,
        timeout_seconds: float,
        failover_seconds: float = FAILOVER_SECONDS,
        failed_rest_seconds: float = FAILED_REST_SECONDS,
        should_stop: Callable[[], bool] = lambda: False,
        model: str = "",
        loaded_at: str = "",
        spread: int = 1,
        in_flight: int = 1 << 16,
        secret_key: str = "",
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._roster = members if callable(members) else fixed(members)
        self._timeout_seconds, self._failover_seconds = timeout_seconds, failover_seconds
        self._failed_rest_seconds = failed_rest_seconds
        self._should_stop, self._model, self._spread = should_stop, model, spread
        self._loaded_at, self._in_flight, self._secret_key = loaded_at, in_flight, secret_key
        self._links: dict[str, _Link] = {}
        self._pending: dict[str, list[bytes]] = {}  # id -> frames
        self._unsent: deque[str] = deque()
        self._releases: Counter[str] = Counter()  # how often each request was wanted back
        self._refresh_at = self._look_at = self._balance_at = 0.0
        self._draw = draw
        self._last_known_at = time.monotonic()

    def __len__(self) -> int:
        """Return the number of requests without an answer."""
        return len(self._pending)

    @property
    def capacity(self) -> int:
        """How many requests may be in progress, so that each process that is used always has work."""
        self._refresh(time.monotonic())
        return sum(link.in_flight for link in self._candidates()[: self._spread])

    def submit(self, message: dict[str, Any], frames: Sequence[bytes]) -> str:
        """Queue a request and return its id. Does not wait: `receive` sends a request that cannot be sent at once."""
        now = time.monotonic()
        if not self._pending:
            self._last_known_at = now
        self._refresh(now)
        request_id = secrets.token_hex(12)
        self._pending[request_id] = [protocol.pack({**message, "id": request_id}), *frames]
        self._unsent.append(request_id)
        self._send()
        return request_id

    def receive(self, *, wait_seconds: float = 0.0) -> tuple[str, dict[str, Any]] | None:
        """Return (id, answer) of a request, None if no answer came in time.

        Raises the error in the answer, Stopped (see `should_stop`) and EngineUnavailable.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            if self._should_stop():
                raise errors.Stopped
            now = time.monotonic()
            if self._pending and now - self._last_known_at > self._timeout_seconds:
                raise errors.EngineUnavailable
            self._refresh(now)
            self._send()
            self._ping(now)
            self._leave_silent_links(now)
            self._balance(now)
            patience = min(deadline - now, self._last_known_at + self._timeout_seconds - now)
            link, message = self._next_message(max(0.0, min(POLL_SECONDS, patience)))
            answer = None if link is None or message is None else self._handle(link, message)
            if answer is not None:
                return answer
            if message is None and time.monotonic() >= deadline:
                return None

    def ask(self, message: dict[str, Any], frames: Sequence[bytes] = ()) -> dict[str, Any]:
        """Send a request and return its result. The client must have no other requests. Raises like `receive`."""
        self.submit(message, frames)
        while (answer := self.receive(wait_seconds=60.0)) is None:
            pass
        return answer[1]

    def cancel(self) -> None:
        """Cancel all requests, here and in the engine processes."""
        for link in self._links.values():
            link.cancel()
        self._pending.clear()
        self._unsent.clear()
        self._releases.clear()

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        for link in self._links.values():
            link.close()

    def _refresh(self, now: float) -> None:
        """Read the list of processes again. One that has left it gets nothing new, and answers what it has."""
        if now < self._refresh_at:
            return
        self._refresh_at = now + REFRESH_SECONDS
        members = self._roster()
        listed = {member.address for member in members}
        links: dict[str, _Link] = {}
        for member in members:
            link = self._links.get(member.address) or _Link(
                member.address,
                in_flight=self._in_flight,
                secret_key=self._secret_key,
                has_model=True if member.address == self._loaded_at else None,
            )
            link.is_listed = True
            link.learn(member)
            links[member.address] = link
        for address, link in self._links.items():
            if address not in listed:
                link.is_listed = False
                if link.sent:
                    links[address] = link
                else:
                    link.close()
        self._links = links
        if self._model and len(links) > 1:
            self._ask_strangers(now)
            self._let_one_more_load(now)

    def _ask_strangers(self, now: float) -> None:
        """Open connections to processes of which nobody has said whether they have the model: their pongs say it."""
        for link in self._links.values():
            if link.is_listed and link.has_model is None and not link.is_open and link.rest_until <= now:
                link.open()

    def _let_one_more_load(self, now: float) -> None:
        """If others wait at all processes that have the model, let another one load it. None of our requests waits."""
        usable = [link for link in self._links.values() if link.is_listed and link.rest_until <= now]
        having = [link for link in usable if link.has_model]
        if not having or not all(link.is_crowded for link in having) or any(link.is_loading for link in usable):
            return
        idle = [link for link in usable if link.may_load(now)]
        if idle:
            link = min(idle, key=lambda link: link.load)
            link.was_told_to_load = True
            if not link.is_open:
                link.open()

    def _candidates(self) -> list[_Link]:
        """Return the links that may get requests, the least busy first: open ones only, if they are `spread` many.

        Those that have the model, or one that has not, if none has: each load takes the memory and time of others.
        """
        now = time.monotonic()
        usable = [link for link in self._links.values() if link.is_listed and link.rest_until <= now]
        if not usable:  # better one that was silent than none
            listed = (link for link in self._links.values() if link.is_listed)
            usable = sorted(listed, key=lambda link: link.rest_until)[:1]
        if self._model:
            usable = [link for link in usable if link.has_model] or sorted(
                usable, key=lambda link: (not link.sent, link.has_model is False, link.load)
            )[:1]
        is_open = [link for link in usable if link.is_open]
        if len(is_open) >= self._spread:
            usable = is_open
        return sorted(usable, key=lambda link: (link.load, not link.is_open))

    def _send(self) -> None:
        """Send what was not sent: each request to the least busy process that takes it now. Opens connections."""
        while self._unsent:
            now = time.monotonic()
            able = [link for link in self._candidates() if link.has_room(now)]
            if able and not able[0].is_open:
                able[0].open()
            link = next((link for link in able if link.is_ready()), None)
            if link is None:
                return
            request_id = self._unsent[0]
            if link.send(request_id, self._pending[request_id]):
                self._unsent.popleft()

    def _ping(self, now: float) -> None:
        for link in self._links.values():
            if link.is_open and now - link.pinged_at >= PING_SECONDS:
                # Only one that is to load the model hears of it before a request: a ping with a model loads it.
                link.ping(model=self._model if link.is_loading else "")

    def _next_message(self, wait_seconds: float) -> tuple[_Link | None, dict[str, Any] | None]:
        """Return the next message and whose it is. Returns early when a connection is there that was waited for."""
        poller = zmq.Poller()
        by_socket = {}
        wanted_ones = self._candidates() if self._unsent else []
        for link in self._links.values():
            if link.connection is not None and link.is_open:
                wanted = zmq.POLLIN | (zmq.POLLOUT if link in wanted_ones and not link.was_ready else 0)
                poller.register(link.connection.socket, wanted)
                by_socket[link.connection.socket] = link
        if not by_socket:
            time.sleep(wait_seconds)
            return None, None
        for socket, event in poller.poll(round(wait_seconds * 1000)):
            if event & zmq.POLLIN:
                link = by_socket[socket]
                assert link.connection is not None, "it was polled"
                return link, link.connection.receive(wait_seconds=0.0)
        return None, None

    def _handle(self, link: _Link, message: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        link.last_heard_at = now = time.monotonic()
        link.rest_seconds = REST_SECONDS
        request_id = str(message.get("id"))
        if message.get("kind") == "pong":
            if not link.has_failed:  # else it is there, but no help
                self._last_known_at = now
            # Messages keep their order. A request that the process neither knows nor has answered did not arrive.
            self._take_back(link, [one for one in message["unknown"] if one in link.sent])
            link.learn_from(message, model=self._model)
            if link.is_loading and has_failed(message, model=self._model):
                link.leave_loading_until(now + self._failed_rest_seconds)
            return None
        if message.get("kind") == "released":
            self._take_released(link, message["waited_ms"])
            return None
        if request_id not in link.sent:
            return None
        if message["kind"] == "busy":
            self._take_back(link, [request_id])
            link.was_busy(now)
            return None
        failure = None
        if message["kind"] == "error":
            failure = errors.from_dict(message["error"], otherwise=errors.EngineFailed)
        link.has_failed = isinstance(failure, errors.EngineUnavailable)
        if link.has_failed and any(one.is_listed and not one.has_failed for one in self._links.values()):
            # It fails fast, so it would be the least busy one and get all requests.
            self._leave(link)
            link.rest_until = now + self._failed_rest_seconds
            return None
        self._last_known_at = now
        link.was_answered(request_id)
        del self._pending[request_id]
        self._releases.pop(request_id, None)
        if failure is not None:
            raise failure
        return request_id, message

    def _take_back(self, link: _Link, ids: Sequence[str]) -> None:
        """Queue requests again, before all others: their clips are the oldest."""
        for one in ids:
            del link.sent[one]
        self._unsent.extendleft(reversed(ids))

    def _balance(self, now: float) -> None:
        """Want requests back from processes where they wait in line, if others have less than two batches.

        A process that has two batches computes one and then begins the other at once, so it needs no more. All clients
        see the same waiting requests and know nothing of each other. So each wants only its part of what is to move,
        the newest of its requests, and a fraction of a request by chance.
        """
        if self._spread < 2 or self._unsent or now < self._balance_at:
            return
        self._balance_at = now + BALANCE_SECONDS
        # One that was left, and not heard since, looks as if it had nothing to do.
        links = [link for link in self._candidates() if not link.is_doubtful]
        each = sum(link.waiting for link in links) / max(1, sum(link.batch for link in links))  # for a place in a batch
        missing = sum(max(0, int(min(2.0, each) * link.batch) - link.waiting) for link in links)
        extra = {link: max(0, int(link.waiting - max(1.0, each) * link.batch)) for link in links}
        if not missing or not any(extra.values()):
            return
        part = min(1.0, missing / sum(extra.values()))
        for link, count in extra.items():
            movable = [one for one in link.sent if self._releases[one] < MAX_RELEASES]
            ours = count * part * len(link.sent) / max(1, link.waiting)
            wanted = movable[max(0, len(movable) - int(ours + self._draw())) :]
            if wanted and link.ask_back(wanted):
                self._releases.update(wanted)

    def _take_released(self, link: _Link, waited_ms: dict[str, int]) -> None:
        """Queue the requests again that a process has released, with the time for which they have waited there."""
        ids = [one for one in link.sent if one in waited_ms]
        for one in ids:
            message, *frames = self._pending[one]
            self._pending[one] = [
                protocol.pack({**protocol.unpack(message), "waited_ms": waited_ms[one]}),
                *frames,
            ]
        self._take_back(link, ids)

    def _leave(self, link: _Link) -> None:
        """Close the connection, and queue its requests for others."""
        left = list(link.sent)
        link.cancel()  # it may only be slow
        self._unsent.extendleft(reversed(left))
        link.close()

    def _leave_silent_links(self, now: float) -> None:
        """Leave the processes that have been silent for too long. Looks now and then, by time: others may be busy."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        for link in self._links.values():
            if not link.is_open:
                continue
            has_other = any(one is not link and one.is_listed and one.rest_until <= now for one in self._links.values())
            is_lost = has_other and now - link.opened_at > CONNECT_SECONDS and not link.is_ready()
            if is_lost or link.is_silent(now, limit=self._failover_seconds if has_other else RECONNECT_SECONDS):
                self._leave(link)
                link.rest(now)


class _Link:
    """What a client knows of one engine process, and its connection while there is one."""

    def __init__(self, address: str, *, in_flight: int, secret_key: str, has_model: bool | None = None) -> None:
        protocol.endpoint(address)
        self._address, self._secret_key = address, secret_key
        self.connection: Connection | None = None
        self.sent: dict[str, None] = {}  # ids, in order
        self.in_flight = self._room = in_flight
        self.has_model = has_model
        self.is_listed = self.was_ready = self.has_failed = self.was_told_to_load = False
        self.last_heard_at = self.pinged_at = self.opened_at = self.rest_until = self._resend_at = 0.0
        self._load_again_at = 0.0
        self.rest_seconds = REST_SECONDS
        self._waiting_of_others, self.batch = 0, 1

    @property
    def is_open(self) -> bool:
        # A forked child must not use the socket of its parent.
        return self.connection is not None and self.connection.pid == os.getpid()

    @property
    def load(self) -> int:
        """How many quarters of a batch wait there: what is less makes no difference, and clips stay together."""
        return 4 * self.waiting // max(4, self.batch)

    @property
    def waiting(self) -> int:
        """How many requests it has, with those that it computes."""
        return self._waiting_of_others + len(self.sent)

    @property
    def is_crowded(self) -> bool:
        """Tell whether more requests of others wait there than one job has in progress."""
        return self._waiting_of_others >= 2 * self.batch

    @property
    def is_loading(self) -> bool:
        return self.was_told_to_load and not self.has_model

    def may_load(self, now: float) -> bool:
        """Tell whether it has not the model, and time to load it."""
        return self.has_model is False and not (self.is_crowded or self.was_told_to_load) and now >= self._load_again_at

    def leave_loading_until(self, time: float) -> None:
        """The model did not load: let others load it, and this process again at that time."""
        self.was_told_to_load, self._load_again_at = False, time

    def learn(self, member: Member) -> None:
        """Take what the list of processes says, unless the process itself is heard."""
        if self.is_open:
            return
        if member.batch:
            self._waiting_of_others, self.batch = member.waiting, member.batch
        if member.has_model is not None and not self.has_model:
            self.has_model = member.has_model

    def learn_from(self, pong: dict[str, Any], *, model: str) -> None:
        """Take what the process says of itself."""
        if model:
            self.has_model = has_model(pong, model=model)
        described = pong["engines"].get(model) if model else pong["engine"]
        if described is not None:
            grows = self._room == self.in_flight
            self.batch, self.in_flight = int(described.get("max_batch", 1)), int(described["in_flight"])
            self._room = self.in_flight if grows else min(self._room, self.in_flight)
        self._waiting_of_others = max(0, int(pong["waiting"]) - len(self.sent))

    def open(self) -> None:
        self.connection = Connection(self._address, secret_key=self._secret_key)
        self.was_ready = False
        self.opened_at = time.monotonic()
        self.pinged_at = 0.0

    def is_ready(self) -> bool:
        """Tell whether a process is connected."""
        self.was_ready = self.connection is not None and self.is_open and self.connection.is_ready()
        return self.was_ready

    def has_room(self, now: float) -> bool:
        return len(self.sent) < self._room and now >= self._resend_at

    def send(self, request_id: str, frames: list[bytes]) -> bool:
        assert self.connection is not None, "it is ready"
        if not self.connection.send(frames, wait_seconds=0.0):
            self.was_ready = False
            return False
        if not self.sent:
            self.last_heard_at = time.monotonic()
        self.sent[request_id] = None
        return True

    def ask_back(self, ids: list[str]) -> bool:
        """Ask for requests that it has not begun; tell whether the question was sent. An old process is silent."""
        assert self.connection is not None, "it has requests"
        return self.connection.send([protocol.pack({"kind": "release", "id": "", "ids": ids})], wait_seconds=0.0)

    def ping(self, *, model: str) -> None:
        assert self.connection is not None, "it is open"
        self.connection.ping(about=list(self.sent), model=model)
        self.pinged_at = time.monotonic()

    def was_busy(self, now: float) -> None:
        """Its queue is full: send no more than what it took, until it answers."""
        self._resend_at = now + BUSY_RETRY_SECONDS
        self._room = max(1, len(self.sent))

    def was_answered(self, request_id: str) -> None:
        del self.sent[request_id]
        self._room = min(self.in_flight, self._room + 1)

    def is_silent(self, now: float, *, limit: float) -> bool:
        """Tell whether it owes an answer for too long, and none waits here to be read."""
        if not self.sent or now - self.last_heard_at <= limit:
            return False
        return self.connection is None or not self.connection.socket.poll(0, zmq.POLLIN)

    @property
    def is_doubtful(self) -> bool:
        """Tell whether it was silent for too long, and has said nothing since."""
        return self.rest_seconds > REST_SECONDS

    def rest(self, now: float) -> None:
        self.rest_until = now + self.rest_seconds
        self.rest_seconds = min(MAX_REST_SECONDS, 2 * self.rest_seconds)

    def cancel(self) -> None:
        if self.sent and self.connection is not None and self.is_open:
            self.connection.send([protocol.pack({"kind": "cancel", "ids": list(self.sent)})], wait_seconds=0.0)
        self.sent.clear()

    def close(self) -> None:
        if self.connection is not None and self.is_open:
            self.connection.close()
        self.connection = None


def fixed(addresses: Sequence[str]) -> Roster:
    """Return a list of processes that does not change. Raises EngineUnavailable for an invalid address, or for none."""
    for address in addresses:
        protocol.endpoint(address)
    if not addresses:
        raise errors.EngineUnavailable("This host has no engine process, and knows none of another host.")
    members = [Member(address) for address in addresses]
    return lambda: members


class Connection:
    """One DEALER socket. pyzmq makes a new context after a fork."""

    def __init__(self, address: str, *, secret_key: str = "") -> None:
        endpoint = protocol.endpoint(address)
        self.pid = os.getpid()
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 200)  # time to send a last "cancel"
        self.socket.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing while no process is connected
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        if endpoint.public_key:
            curve.protect_client(self.socket, server_key=endpoint.public_key, secret_key=secret_key)
        self.socket.connect(endpoint.url)

    def is_ready(self) -> bool:
        """Tell whether a process is connected to take a message."""
        return bool(self.socket.poll(0, zmq.POLLOUT))

    def send(self, frames: list[bytes], *, wait_seconds: float) -> bool:
        """Send the frames; tell whether a process was connected to take them."""
        if not self.socket.poll(round(wait_seconds * 1000), zmq.POLLOUT):
            return False
        try:
            self.socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True

    def ping(self, *, about: Sequence[str] = (), model: str = "", wait_seconds: float = 0.0) -> bool:
        """Send a ping about these requests; tell whether a process was connected to take it."""
        message = {"kind": "ping", "id": "", "about": list(about), "model": model}
        return self.send([protocol.pack(message)], wait_seconds=wait_seconds)

    def receive(self, *, wait_seconds: float) -> dict[str, Any] | None:
        """Return the next message, None if none came in time."""
        if not self.socket.poll(round(wait_seconds * 1000), zmq.POLLIN):
            return None
        return protocol.unpack(self.socket.recv_multipart()[0])

    def close(self) -> None:
        """Close the socket. In a forked child pyzmq does not touch the socket of the parent."""
        self.socket.close()

    def __del__(self) -> None:
        if hasattr(self, "socket"):
            self.close()


def has_model(report: dict[str, Any], *, model: str) -> bool:
    """Tell whether a process with this health report has loaded the model."""
    return bool(report["models"].get(model, {}).get("state") == "loaded")


def has_failed(report: dict[str, Any], *, model: str) -> bool:
    """Tell whether the model did not load in a process with this health report."""
    return bool(report["models"].get(model, {}).get("state") == "failed")


def health(address: str, timeout_seconds: float, *, model: str = "", secret_key: str = "") -> dict[str, Any] | None:
    """Return the health report of an engine process, None if it does not answer in time.

    model: a model to preload. secret_key: of this client, for an address over TCP.
    Keys of the report: see `server.EngineServer._health` and `recogniser.Recogniser.health`.
    """
    deadline = time.monotonic() + timeout_seconds
    connection = Connection(address, secret_key=secret_key)
    try:
        is_sent = False
        while (left := deadline - time.monotonic()) > 0:
            if not is_sent:
                is_sent = connection.ping(model=model, wait_seconds=left)
                continue
            answer = connection.receive(wait_seconds=left)
            if answer is not None and answer.get("kind") == "pong":
                return answer
        return None
    finally:
        connection.close()
