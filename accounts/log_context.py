"""What a log line is about: the ids of its request, organization, job and the like. They stand in every line.

Code that learns an id adds it once; all that is logged later in the same request or task has it, also in the threads
and tasks that this work starts through asyncio. A thread that is started by hand begins without.
"""

import logging
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar

_ids: ContextVar[Mapping[str, str] | None] = ContextVar("log_context", default=None)
# One mapping for a request, which its threads and tasks share. They have copies of the context.
_collected: ContextVar[MutableMapping[str, str] | None] = ContextVar("log_context_collected", default=None)


def begin(**ids: object) -> None:
    """Forget the ids of what was worked on before, and set these."""
    _ids.set({name: str(value) for name, value in ids.items()})


def add(**ids: object) -> None:
    """Add ids until the end of the request or task."""
    _ids.set({**ids_now(), **{name: str(value) for name, value in ids.items()}})


def collect() -> Mapping[str, str]:
    """Return a mapping that gets what is noted from here on, also by threads and tasks that start here."""
    found: dict[str, str] = {}
    _collected.set(found)
    return found


def note(**facts: object) -> None:
    """Tell what `collect` returned, and no log line."""
    collected = _collected.get()
    if collected is not None:
        collected.update((name, str(value)) for name, value in facts.items())


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """Add ids for a while. Those that are added meanwhile end with it."""
    token = _ids.set({**ids_now(), **{name: str(value) for name, value in ids.items()}})
    try:
        yield
    finally:
        _ids.reset(token)


def ids_now() -> Mapping[str, str]:
    """Return the ids that lines have now, by name."""
    return _ids.get() or {}


class AddsIds(logging.Filter):
    """Puts the ids into each record: as attributes, which formatters write, and as the text `ids` for plain lines.

    A value of the line itself (`extra=`) is kept.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add to the record. Every record passes."""
        found = ids_now()
        for name, value in found.items():
            if not hasattr(record, name):
                setattr(record, name, value)
        record.ids = "".join(f" {name}={value}" for name, value in found.items())
        return True
