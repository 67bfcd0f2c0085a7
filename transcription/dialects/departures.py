"""Calls of this process whose client has gone, which nobody has noted for all processes yet.

A program whose connection breaks may send everything again in the same millisecond. The server knows of the broken
connection when that second request comes. To cancel the task of the first one, and to tell Redis of it, takes longer.
"""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from accounts.gate.later import Connection


@dataclass(eq=False, slots=True)
class OpenCall:
    """A call of this process that has a job, and whether its client is still there.

    mark: as `Call` has it. was_repeated: another call has its job now, as its repeat.
    """

    mark: str
    job_id: uuid.UUID
    connection: Connection
    was_repeated: bool = False


_open: dict[str, list[OpenCall]] = {}
# Calls begin and look for each other in threads, and end in the event loop.
_lock = threading.Lock()


def add(call: OpenCall) -> None:
    """Let repeats of a call find it once its client has gone."""
    with _lock:
        _open.setdefault(call.mark, []).append(call)


def remove(call: OpenCall) -> None:
    """Forget a call that was answered, or whose departure all processes know of."""
    with _lock:
        others = [each for each in _open.get(call.mark, []) if each is not call]
        if others:
            _open[call.mark] = others
        else:
            _open.pop(call.mark, None)


def take(mark: str, *, is_repeated: Callable[[uuid.UUID], bool]) -> uuid.UUID | None:
    """Return the job of the last equal call whose client has gone, and have it repeated by the caller alone.

    is_repeated: whether the caller has the recording of a job. It may ask the database.

    Of a call whose departure is noted for all in this very moment, one more call may get the transcript.
    """
    for call in reversed(_gone(mark)):
        if is_repeated(call.job_id):
            with _lock:
                if call.was_repeated:
                    continue
                call.was_repeated = True
            return call.job_id
    return None


def _gone(mark: str) -> list[OpenCall]:
    with _lock:
        return [call for call in _open.get(mark, []) if call.connection.is_lost and not call.was_repeated]
