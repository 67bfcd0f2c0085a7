"""What a client takes of a response that is made while it is sent: all of it, or its first piece alone."""

from typing import Any

from asgiref.sync import async_to_sync


def content_of(response: Any) -> bytes:
    """Return all of a response."""

    async def read() -> bytes:
        return b"".join([piece async for piece in response.streaming_content])

    return async_to_sync(read)()


def cut(response: Any) -> bytes:
    """Return the first piece of a response, whose client leaves then."""

    async def read() -> bytes:
        pieces = response.streaming_content
        first: bytes = await anext(pieces)
        await pieces.aclose()
        return first

    return async_to_sync(read)()
