"""Signs of life: completions that this process relays say so, or the sweeper gives back the money that they hold."""

import asyncio
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from django.conf import settings

from apex import completions
from apex.batcher import Desk

logger = logging.getLogger(__name__)

_signs: Desk[list[uuid.UUID], int] = Desk(lambda gathered: [completions.keep_alive(ids) for ids in gathered])
# Completions that this process relays.
_alive: dict[uuid.UUID, None] = {}
_signals: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = WeakKeyDictionary()


@contextmanager
def of(completion_id: uuid.UUID) -> Iterator[None]:
    """Give signs of a completion's life, within."""
    _alive[completion_id] = None
    loop = asyncio.get_running_loop()
    task = _signals.get(loop)
    if task is None or task.done():
        _signals[loop] = loop.create_task(_signal())
    try:
        yield
    finally:
        _alive.pop(completion_id, None)


async def _signal() -> None:
    while _alive:
        await asyncio.sleep(settings.APEX_HEARTBEAT_SECONDS)
        try:
            await _signs.do(list(_alive), group="signs")
        except Exception:  # The database is away; the next sign may get through.
            logger.exception("No sign of life could be given.")
