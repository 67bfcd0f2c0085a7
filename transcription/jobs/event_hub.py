"""One Redis subscription for everybody in this process who watches a job.

A job's events are a Redis stream. Publishing one also sends an empty message on the channel of the same name. The
message only says "look": what is read, from where and in which order, is decided by the ids of the stream alone. So a
message that is lost, doubled or late costs time and no event, and a sweep every few seconds finds what no message told.

The hub of an event loop ends some seconds after the last watcher left. It has at most MAX_CONNECTIONS connections to
Redis, whatever the number of watchers and of jobs (docs/decisions/0029).
"""

import asyncio
import contextvars
import json
import logging
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# The subscription, and two that read: one for the hub, one for watchers that catch up.
MAX_CONNECTIONS = 3
REDIS_SECONDS = 5.0
# After a failure. Watchers look at the database meanwhile.
RECONNECT_SECONDS = 1.0
# How often all watched streams are read without a message, for publishers that send none and messages that were lost.
SWEEP_SECONDS = 5.0
EVENTS_PER_READ = 100
STREAMS_PER_READ = 100
# Events that wait for one watcher. One that takes them more slowly reads the rest from Redis itself.
MAX_QUEUED = 200

# The id of an entry of a stream: milliseconds and a sequence number.
Position = tuple[int, int]
START: Position = (0, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """name: "started", "progress", "segment" or "end". data: JSON values."""

    name: str
    data: dict[str, Any]


def key_of(job_id: uuid.UUID) -> str:
    """Return the name of a job's stream, and of its channel."""
    return f"voxsite:events:{job_id}"


@contextmanager
def watching(job_id: uuid.UUID) -> Iterator["Watcher"]:
    """Watch a job from its first kept event, in the running event loop. Waits for nothing, also at its end."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    watcher = hub.join(key_of(job_id).encode())
    try:
        yield watcher
    finally:
        hub.leave(watcher)


class _Topic:
    """One watched stream. tail: the last entry that the hub has handed to the watchers."""

    __slots__ = ("key", "tail", "watchers")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.tail = START
        self.watchers: set[Watcher] = set()

    def deliver(self, entries: Sequence[tuple[Position, Event]]) -> None:
        """Hand entries that follow the tail to all watchers that have everything before them."""
        before, self.tail = self.tail, entries[-1][0]
        for watcher in self.watchers:
            watcher.offer(entries, after=before)


class Watcher:
    """One reader of one stream. It holds at most MAX_QUEUED events, however slowly they are taken."""

    __slots__ = ("_hub", "_is_woken_for_nothing", "_position", "_queue", "_woken", "topic")

    def __init__(self, hub: "Hub", topic: _Topic) -> None:
        self.topic = topic
        self._hub = hub
        # The last event that was queued or taken. Before the topic's tail, the watcher is behind: it gets no offers and
        # reads for itself, as a latecomer does.
        self._position = START
        self._queue: deque[Event] = deque()
        self._woken = asyncio.Event()
        self._is_woken_for_nothing = False

    def wake(self) -> None:
        """Have `take` return what there is, now and from now on. Call it in the event loop."""
        self._is_woken_for_nothing = True
        self._woken.set()

    async def take(self, *, until: float) -> list[Event]:
        """Return the next events in order, or [] if none came until that time of the loop's clock."""
        while not self._queue:
            if self._position < self.topic.tail:
                found = await self._catch_up()
                if found:
                    return found
                if found is not None:
                    continue
            self._woken.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._woken.wait()
            except TimeoutError:
                return []
            if self._is_woken_for_nothing:
                return []
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def offer(self, entries: Sequence[tuple[Position, Event]], *, after: Position) -> None:
        """Queue entries, unless the watcher lacks entries before them or has no space.

        after: the tail before these entries.
        """
        if self._position < after or len(self._queue) + len(entries) > MAX_QUEUED:
            return
        # One that has just caught up may have read some of them already.
        self._queue.extend(event for position, event in entries if position > self._position)
        self._position = max(self._position, entries[-1][0])
        self._woken.set()

    async def _catch_up(self) -> list[Event] | None:
        """Return what follows in the stream, [] if Redis has nothing of it any more, None if Redis does not answer."""
        tail = self.topic.tail
        try:
            entries = await self._hub.read(self.topic.key, after=self._position)
        except RedisError:
            return None
        self._position = entries[-1][0] if entries else tail
        return [event for _, event in entries]


class Hub:
    """Follows the streams that are watched in one event loop."""

    def __init__(self) -> None:
        self._topics: dict[bytes, _Topic] = {}
        # Streams that may have entries after their topic's tail.
        self._unread: set[bytes] = set()
        self._woken = asyncio.Event()
        self._client: Redis | None = None
        self._is_failing = False
        self._is_over = False
        self._loop = asyncio.get_running_loop()
        # It serves all watchers, so its log lines must not have the ids of the first one's request.
        self._task = self._loop.create_task(self._run(), name="event-hub", context=contextvars.Context())

    def join(self, key: bytes) -> Watcher:
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = _Topic(key)
            self._look_at(key)
        watcher = Watcher(self, topic)
        topic.watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        topic = watcher.topic
        topic.watchers.discard(watcher)
        if not topic.watchers and self._topics.get(topic.key) is topic:
            del self._topics[topic.key]

    async def read(self, key: bytes, *, after: Position) -> list[tuple[Position, Event]]:
        """Return the next entries of a stream. Raises RedisError."""
        if self._client is None:
            raise RedisConnectionError("There is no connection.")
        try:
            found = await _read(self._client, {key: after})
        except TimeoutError as error:
            raise RedisConnectionError("Redis does not answer.") from error
        return found.get(key, [])

    def _look_at(self, key: bytes) -> None:
        self._unread.add(key)
        self._woken.set()

    async def _run(self) -> None:
        try:
            while self._topics and not self._is_over:
                await self._connect_and_follow()
        finally:
            self._end()

    async def _connect_and_follow(self) -> None:
        try:
            async with _connect() as client, client.pubsub() as subscription:
                self._client = client
                await self._follow(client, subscription)
        except* (RedisError, TimeoutError) as failure:
            await self._pause(failure)
        except* Exception as failure:  # A bug. It must not take all events from who watches until a restart.
            logger.exception("The event hub failed.", exc_info=failure)
            await asyncio.sleep(RECONNECT_SECONDS)
        finally:
            self._client = None

    def _end(self) -> None:
        """Have the next watcher make another hub. Call it before anything is closed."""
        self._is_over = True
        if _hubs.get(self._loop) is self:
            del _hubs[self._loop]

    async def _pause(self, failure: ExceptionGroup[Exception]) -> None:
        if not self._is_failing:
            logger.warning("Events of jobs are not to be had: %s", type(failure.exceptions[0]).__name__)
        self._is_failing = True
        await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow(self, client: Redis, subscription: PubSub) -> None:
        """Read what messages and sweeps point to, until Redis fails or a sweep finds that nobody watches."""
        subscribed: set[bytes] = set()
        sweep_at = self._loop.time()
        async with asyncio.TaskGroup() as group:
            listener: asyncio.Task[None] | None = None
            while True:
                self._woken.clear()
                if self._loop.time() >= sweep_at:
                    if not self._topics:
                        break
                    self._unread.update(self._topics)
                    sweep_at = self._loop.time() + SWEEP_SECONDS
                await self._subscribe(subscription, subscribed)
                if listener is None and subscribed:
                    listener = group.create_task(self._listen(subscription))
                await self._read_some(client)
                if self._is_failing:
                    logger.info("Events of jobs are to be had again.")
                    self._is_failing = False
                if not self._unread:
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(sweep_at):
                            await self._woken.wait()
            self._end()
            if listener is not None:
                listener.cancel()

    async def _subscribe(self, subscription: PubSub, subscribed: set[bytes]) -> None:
        """Make the subscribed channels those that are watched."""
        joined, left = self._topics.keys() - subscribed, subscribed - self._topics.keys()
        async with asyncio.timeout(REDIS_SECONDS):
            if joined:
                await subscription.subscribe(*joined)
                subscribed |= joined
            if left:
                await subscription.unsubscribe(*left)
                subscribed -= left

    async def _listen(self, subscription: PubSub) -> None:
        while True:
            message = await subscription.get_message(timeout=SWEEP_SECONDS)
            # The answer to a subscription counts too: an event before it may have sent its message to nobody.
            if message is not None and message["channel"] in self._topics:
                self._look_at(message["channel"])
            # A message that is there already is returned without waiting. Others must get their turn.
            await asyncio.sleep(0)

    async def _read_some(self, client: Redis) -> None:
        keys = [self._unread.pop() for _ in range(min(len(self._unread), STREAMS_PER_READ))]
        topics = {key: self._topics[key] for key in keys if key in self._topics}
        if not topics:
            return
        found = await _read(client, {key: topic.tail for key, topic in topics.items()})
        for key, entries in found.items():
            topics[key].deliver(entries)
            if len(entries) == EVENTS_PER_READ:
                self._look_at(key)


def _connect() -> Redis:
    pool = BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=MAX_CONNECTIONS,
        socket_connect_timeout=REDIS_SECONDS,
        # A time-out here would have redis-py send by asyncio.wait_for, which loses a cancellation now and then on
        # Python 3.11 (cpython issue 86296): the stream of a client that left would stay open. Callers set time-outs.
        socket_timeout=None,
        health_check_interval=30,
        # After a reconnection the hub must subscribe again and read what it missed, so it does this itself.
        retry=Retry(NoBackoff(), 0),
        client_name="voxsite-events",
    )
    return Redis.from_pool(pool)


async def _read(client: Redis, positions: Mapping[bytes, Position]) -> dict[bytes, list[tuple[Position, Event]]]:
    """Return the next entries after these positions, of streams that have any. Raises RedisError and TimeoutError."""
    ids = {key: f"{milliseconds}-{number}" for key, (milliseconds, number) in positions.items()}
    async with asyncio.timeout(REDIS_SECONDS):
        found = await client.xread(ids, count=EVENTS_PER_READ)  # type: ignore[arg-type]  # the stubs want a dict of unions
    return {key: [_parsed(*entry) for entry in entries] for key, entries in found}


def _parsed(entry_id: bytes, fields: Mapping[bytes, bytes]) -> tuple[Position, Event]:
    milliseconds, _, number = entry_id.partition(b"-")
    event = Event(name=fields[b"name"].decode(), data=json.loads(fields[b"data"]))
    return (int(milliseconds), int(number)), event


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()
