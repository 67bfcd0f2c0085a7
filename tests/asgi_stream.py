"""A client of a streamed response in the process of the test, as uvicorn would call the application for it."""

import asyncio
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from accounts.gate.later import CONNECTION, Connection
from voxsite import asgi


class AsgiStream:
    """One open request. It reads everything at once, unless `is_reading` is cleared."""

    def __init__(
        self,
        path: str,
        *,
        key: str,
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
        application: Any = asgi.application,
    ) -> None:
        self.headers: dict[str, str] = {}
        self._body = body
        self.status: int | None = None
        self.received = b""
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        # Whether the application waits for this client to read.
        self.is_sending = False
        self._has_begun = asyncio.Event()
        self._has_left = asyncio.Event()
        self._has_sent = False
        self._connection = Connection()
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [
                (b"host", b"localhost"),
                *((b"x-api-key", key.encode()) for _ in range(bool(key))),
                *((b"content-length", str(len(body)).encode()) for _ in range(bool(body))),
                *((name.lower().encode(), value.encode()) for name, value in headers.items()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            CONNECTION: self._connection,
        }
        self._task = asyncio.create_task(application(scope, self._receive, self._send))

    @property
    def json(self) -> Any:
        return json.loads(self.received)

    def lose_connection(self) -> None:
        """Close the connection. The application has not noticed yet."""
        self._connection.is_lost = True

    async def leave(self) -> None:
        """Close the connection, and wait until the application has noticed."""
        self.lose_connection()
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
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.is_sending = True
        await self.is_reading.wait()
        self.is_sending = False
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        self.received += message.get("body", b"")
        if self.received:
            self._has_begun.set()
