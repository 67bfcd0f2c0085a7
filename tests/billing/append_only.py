"""Changes to append-only tables, which tests make and production never does."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from billing import triggers


@contextmanager
def triggers_suspended() -> Iterator[None]:
    """Allow changes inside the block."""
    triggers.drop(connection)
    try:
        yield
    finally:
        triggers.create(connection)
