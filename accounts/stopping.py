"""Whether this process is about to end, for those whom that would cut off. Pure: no Django.

The web process ends in two steps (`voxsite/serve/web.py`). First it drains: it serves on, and says that load balancers
shall send nothing more. Then it finishes what is open. What is still open shortly before the end of that time is
interrupted here, so that it can tell its client.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_is_draining = False
_is_interrupted = False
_callbacks: set[Callable[[], None]] = set()


def begin() -> None:
    """Note that the process is going to end. May be called in a signal handler."""
    global _is_draining  # noqa: PLW0603 - a fact of the process
    _is_draining = True


def is_draining() -> bool:
    """Tell whether the process is going to end."""
    return _is_draining


def interrupt() -> None:
    """Interrupt what is still open. Call it in the event loop."""
    global _is_interrupted  # noqa: PLW0603 - a fact of the process
    _is_interrupted = True
    for callback in list(_callbacks):
        callback()


def is_interrupted() -> bool:
    """Tell whether what is open must end now."""
    return _is_interrupted


@contextmanager
def noticed(callback: Callable[[], None]) -> Iterator[None]:
    """Have `callback` called in the event loop when what is open must end, within the context."""
    if _is_interrupted:
        asyncio.get_running_loop().call_soon(callback)
    _callbacks.add(callback)
    try:
        yield
    finally:
        _callbacks.discard(callback)


def forget() -> None:
    """Begin again, as a new process. For tests, which end no process."""
    global _is_draining, _is_interrupted  # noqa: PLW0603 - facts of the process
    _is_draining = _is_interrupted = False
