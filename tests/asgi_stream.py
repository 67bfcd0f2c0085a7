"""A client of a streamed response in the process of the test, as uvicorn would call the application for it."""

import asyncio
import json
from typing import Any

from voxsite import asgi


class AsgiStream:
    """One open GET request. It reads everything at once, unless `is_reading` is cleared."""

    def __init__(self, path: str, *, key: str) -> None:
        self.status: int | None = None
        self.received = b""
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self._has_begun = asyncio.Event()
        self._has_left = asyncio.Event()
        self._has_sent = False
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"x-api-key", key.encode())],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
        }
        self._task = asyncio.create_task(asgi.application(scope, self._receive, self._send))

    @property
    def json(self) -> Any:
        return json.loads(self.received)

    async def leave(self) -> None:
        """Close the connection, and wait until the application has noticed."""
        self._has_left.set()
        await self._task

    async def end(self) -> None:
        """Wait for the end of the response."""
        await self._task

    async def begin(self) -> None:
        """Wait for the first bytes of the body."""
        begun = asyncio.create_task(self._has_begun.wait())
        await asyncio.wait([begun, self._task], return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()

    async def _receive(self) -> dict[str, Any]:
        if not self._has_sent:
            self._has_sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self.is_reading.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.received += message.get("body", b"")
        if self.received:
            self._has_begun.set()
