"""The number of open requests of a kind per organization, in all web processes together: counted in Redis.

For requests that stay open for seconds or longer, of which a customer may have a stated number. Each has a lease in a
sorted set, which its process renews; the slots of a process that died are free when their leases have ended. While
Redis does not answer, each process counts for itself (docs/decisions/0001, 0080).
"""

import logging
import os
import secrets
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from typing import cast

from redis import Redis
from redis.commands.core import Script
from redis.exceptions import RedisError

from accounts import redis_connections
from accounts.gate import concurrency
from accounts.gate.concurrency import ConcurrencySlot

logger = logging.getLogger(__name__)

# How long a slot is in use without word of its process, and how often a process renews its leases.
LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
# Who finds no free slot looks once more: another process may be about to tell that one was released.
LOOK_AGAIN_SECONDS = 0.1
# Released slots that Redis was not told of yet. Of older ones the leases have ended.
MAX_UNTOLD = 10_000

# KEYS: a sorted set of slots by the end of their leases (milliseconds, by the clock of Redis).
# ARGV: the slot to acquire, or "" to count only; the limit; the milliseconds of a lease.
# Returns 1 if the slot is acquired, or would be.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
if ARGV[1] ~= '' then
    redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
"""


class SharedSlots:
    """The slots of this process among those of all. Thread-safe."""

    def __init__(
        self,
        client: Callable[[], Redis] = redis_connections.client,
        *,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        self._client = client
        self._lease_ms = int(lease_seconds * 1000)
        self._renew_seconds = renew_seconds
        self._lock = threading.Lock()
        self._held: dict[str, set[str]] = {}
        self._untold: deque[tuple[str, str]] = deque(maxlen=MAX_UNTOLD)
        # Held while Redis is told what is held or released, so that no renewal brings back what was released.
        self._telling = threading.Lock()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, key: str, *, limit: int) -> str | None:
        """Return the name of a slot that is now in use, or None if `limit` are. May wait for Redis: not in a loop."""
        self._start()
        slot = secrets.token_hex(8)
        if not self._is_free(key, slot, limit=limit):
            return None
        with self._lock:
            self._held.setdefault(key, set()).add(slot)
        return slot

    def release(self, key: str, slot: str) -> None:
        """Free a slot. Redis is told in another thread, at once."""
        with self._lock:
            self._held[key].discard(slot)
            if not self._held[key]:
                del self._held[key]
            self._untold.append((key, slot))
        self._woken.set()

    def is_full(self, key: str, *, limit: int) -> bool:
        """Tell whether `acquire` would return None, without acquiring anything."""
        return not self._is_free(key, "", limit=limit)

    def tell_released(self) -> None:
        """Tell Redis which slots were released. Raises RedisError, and tells them later then."""
        with self._telling:
            with self._lock:
                untold = list(self._untold)
                self._untold.clear()
            if not untold:
                return
            try:
                with self._client().pipeline(transaction=False) as pipeline:
                    for key, slot in untold:
                        pipeline.zrem(key, slot)
                    pipeline.execute()
            except RedisError:
                with self._lock:
                    self._untold.extendleft(reversed(untold))
                raise

    def renew(self) -> None:
        """Renew the leases of all slots in use, also of those that Redis has lost or never heard of."""
        with self._telling:
            with self._lock:
                held = {key: list(slots) for key, slots in self._held.items()}
            if not held:
                return
            client = self._client()
            seconds, micros = cast("tuple[int, int]", client.time())
            ends_at = seconds * 1000 + micros // 1000 + self._lease_ms
            with client.pipeline(transaction=False) as pipeline:
                for key, slots in held.items():
                    pipeline.zadd(key, dict.fromkeys(slots, ends_at))
                    pipeline.pexpire(key, self._lease_ms)
                pipeline.execute()

    def _start(self) -> None:
        """Start the thread that renews leases. Raises RuntimeError; the next call tries again."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._keep_up, name="shared-slots", daemon=True)
                thread.start()
                self._thread = thread

    def _is_free(self, key: str, slot: str, *, limit: int) -> bool:
        try:
            self.tell_released()
            if self._ask(key, slot, limit=limit):
                return True
            time.sleep(LOOK_AGAIN_SECONDS)
            return self._ask(key, slot, limit=limit)
        except RedisError as error:
            _note_outage(error)
            return True

    def _ask(self, key: str, slot: str, *, limit: int) -> bool:
        return bool(_script_of(self._client())(keys=[key], args=[slot, limit, self._lease_ms]))

    def _keep_up(self) -> None:
        renewed_at = time.monotonic()
        while True:
            self._woken.wait(max(0.0, renewed_at + self._renew_seconds - time.monotonic()))
            self._woken.clear()
            try:
                self.tell_released()
                if time.monotonic() >= renewed_at + self._renew_seconds:
                    renewed_at = time.monotonic()
                    self.renew()
            except RedisError as error:
                _note_outage(error)
            except Exception:
                # If this thread ended, no lease of this process would be renewed again.
                logger.exception("Leases of open requests could not be renewed; trying again.")


def acquire(slot: ConcurrencySlot, *, kind: str, organization_id: uuid.UUID, limit: int) -> bool:
    """Acquire the slot of a request unless its organization has `limit` of the kind open, in whichever process.

    It is free again when `slot` is released, which a refusal does at once. Waits for Redis: call it in a thread.
    """
    if not slot.acquire((kind, organization_id), limit=limit):
        return False
    key, slots = _key(kind, organization_id), _slots
    shared = slots.acquire(key, limit=limit)
    if shared is None:
        slot.release()
        return False
    return slot.on_release(partial(slots.release, key, shared))


def is_full(*, kind: str, organization_id: uuid.UUID, limit: int) -> bool:
    """Tell whether an organization has `limit` requests of the kind open, in whichever process."""
    if concurrency.slots_in_use((kind, organization_id)) >= limit:
        return True
    return _slots.is_full(_key(kind, organization_id), limit=limit)


def _key(kind: str, organization_id: uuid.UUID) -> str:
    return f"voxsite:slots:{kind}:{organization_id}"


def _note_outage(error: RedisError) -> None:
    if isinstance(error, redis_connections.Resting):
        return
    redis_connections.rest()
    logger.warning("Each process counts open requests for itself: %s: %s", type(error).__name__, error)


@lru_cache
def _script_of(client: Redis) -> Script:
    return client.register_script(SCRIPT)


_slots = SharedSlots()


def _after_fork() -> None:
    # What is held is the parent's, and so is the thread.
    global _slots  # noqa: PLW0603 - a fact of the process
    _slots = SharedSlots()


os.register_at_fork(after_in_child=_after_fork)
