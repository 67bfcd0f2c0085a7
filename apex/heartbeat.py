"""Heartbeats of the completions that this process relays.

The sweeper (`completions.sweep`) releases the hold of a completion that has no recent heartbeat.
"""

import asyncio
import contextvars
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from django.conf import settings

from accounts.batcher import Batcher
from apex import completions

logger = logging.getLogger(__name__)

_writes: Batcher[list[uuid.UUID], int] = Batcher(lambda batch: [completions.keep_alive(ids) for ids in batch])
# The completions that this process relays: a dict, because it keeps their order.
_relayed: dict[uuid.UUID, None] = {}
_tasks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = WeakKeyDictionary()


@contextmanager
def keeping_alive(completion_id: uuid.UUID) -> Iterator[None]:
    """Send heartbeats for the completion while the context is open."""
    _relayed[completion_id] = None
    loop = asyncio.get_running_loop()
    task = _tasks.get(loop)
    if task is None or task.done():
        # It writes for all completions, so its log lines must not have the ids of this one.
        _tasks[loop] = loop.create_task(_send_heartbeats(), context=contextvars.Context())
    try:
        yield
    finally:
        _relayed.pop(completion_id, None)


async def _send_heartbeats() -> None:
    while _relayed:
        await asyncio.sleep(settings.APEX_HEARTBEAT_SECONDS)
        try:
            await _writes.submit(list(_relayed), group="heartbeat")
        except Exception:  # The database is away; the next heartbeat may succeed.
            logger.exception("Heartbeats could not be written.")
