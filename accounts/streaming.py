"""Responses that are made while they are sent."""

from collections.abc import AsyncIterator, Iterator
from typing import AnyStr

from asgiref.sync import sync_to_async

from accounts import database_connection


async def asynchronously(pieces: Iterator[AnyStr]) -> AsyncIterator[AnyStr]:
    """Yield the same pieces, each made in a thread. Under ASGI, Django would read a synchronous iterator completely."""
    while (piece := await sync_to_async(_next)(pieces)) is not None:
        yield piece


def _next(pieces: Iterator[AnyStr]) -> AnyStr | None:
    try:
        return next(pieces, None)
    finally:
        # The client may read slowly: do not keep a database connection between two pieces.
        database_connection.release()
