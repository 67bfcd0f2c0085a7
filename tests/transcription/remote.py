"""A real HTTP server that customers' URLs name. The path chooses its behaviour: SCENARIOS has all.

It listens on 127.0.0.1. `running` allows that address, and no other one, as VOXSITE_ALLOW_PRIVATE_ADDRESSES does.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

PIECE_BYTES = 64 * 1024


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Remote:
    """A running server. content: what it serves. goes_on: what some scenarios wait for."""

    port: int
    loop: asyncio.AbstractEventLoop
    content: bytes = b""
    etag: str = '"one"'
    modified: str = ""
    asked: list[Asked] = field(default_factory=list)
    goes_on: threading.Event = field(default_factory=threading.Event)
    has_asked: threading.Condition = field(default_factory=threading.Condition)

    @property
    def socket(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.socket}{path}"

    def wait_for_requests(self, count: int) -> None:
        """Return when so many requests have come."""
        with self.has_asked:
            assert self.has_asked.wait_for(lambda: len(self.asked) >= count, 60)

    def ranges(self) -> list[str | None]:
        """Return the Range header of each request."""
        return [one.headers.get("Range") for one in self.asked]


async def whole(server: Remote, request: web.Request) -> web.StreamResponse:
    """All of it, or the part that is asked for, if the entity is still the one that is meant."""
    return await _part(server, request, count=None)


async def cut(server: Remote, request: web.Request) -> web.StreamResponse:
    """So many bytes of what is asked for. Then the connection breaks."""
    return await _part(server, request, count=int(request.query["bytes"]))


async def cut_once(server: Remote, request: web.Request) -> web.StreamResponse:
    """As cut for the first request of this server, and as whole for the next ones."""
    return await _part(server, request, count=int(request.query["bytes"]) if len(server.asked) == 1 else None)


async def cut_and_changed(server: Remote, request: web.Request) -> web.StreamResponse:
    """As cut_once, and the next request finds another file at the address."""
    if len(server.asked) > 1:
        server.etag, server.content = '"two"', server.content[::-1]
    return await cut_once(server, request)


async def cut_without_ranges(server: Remote, request: web.Request) -> web.StreamResponse:
    """As cut_once, by a server that knows no ranges."""
    return await _part(
        server,
        request,
        count=int(request.query["bytes"]) if len(server.asked) == 1 else None,
        knows_ranges=False,
    )


async def status(server: Remote, request: web.Request) -> web.StreamResponse:
    return web.Response(status=int(request.query["code"]), text="<html>an error page</html>")


async def web_page(server: Remote, request: web.Request) -> web.StreamResponse:
    """A page around a recording, in two pieces: as what `type` says, and endless if nobody leaves."""
    response = web.StreamResponse(headers={"Content-Type": request.query.get("type", "text/html")})
    await response.prepare(request)
    await response.write(b"\n<!doc")
    await response.write(b"type html><html><body>Listen to my recording</body>")
    while True:
        await response.write(b"<p>and more</p>" * 1000)


async def redirect(server: Remote, request: web.Request) -> web.StreamResponse:
    return web.Response(status=int(request.query.get("code", "302")), headers={"Location": request.query["to"]})


async def loop(server: Remote, request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "/loop"})


async def silent(server: Remote, request: web.Request) -> web.StreamResponse:
    """Not even a status."""
    return await _wait(server)


async def endless(server: Remote, request: web.Request) -> web.StreamResponse:
    """No length, and no end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"\0" * PIECE_BYTES)


async def huge(server: Remote, request: web.Request) -> web.StreamResponse:
    """A length of a terabyte."""
    response = web.StreamResponse(headers={"Content-Length": str(10**12)})
    await response.prepare(request)
    return response


async def zeros(server: Remote, request: web.Request) -> web.StreamResponse:
    """So many bytes that are no recording."""
    left = int(request.query["bytes"])
    response = web.StreamResponse(headers={"Content-Length": str(left)})
    await response.prepare(request)
    while left:
        piece = min(left, PIECE_BYTES)
        await response.write(bytes(piece))
        left -= piece
    return response


async def half(server: Remote, request: web.Request) -> web.StreamResponse:
    """The first half at once, and the rest when the test says so. A part that is asked for comes at once."""
    if "Range" in request.headers:
        return await _part(server, request, count=None)
    response = await _begin(server, request, first=0)
    middle = len(server.content) // 2
    await response.write(server.content[:middle])
    await _wait(server)
    await response.write(server.content[middle:])
    return response


async def chunked(server: Remote, request: web.Request) -> web.StreamResponse:
    """No length, and a proper end."""
    response = web.StreamResponse(headers={"ETag": server.etag})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(server.content)
    return response


async def wrong_part(server: Remote, request: web.Request) -> web.StreamResponse:
    """As cut_once, and the second request gets bytes that it did not ask for."""
    if len(server.asked) != 2:
        return await cut_once(server, request)
    headers = {"Content-Range": f"bytes 5-{len(server.content) - 1}/{len(server.content)}"}
    return web.Response(status=206, body=server.content[5:], headers=headers)


async def wrong_status(server: Remote, request: web.Request) -> web.StreamResponse:
    """As cut_once, and the second request is told that the file is shorter."""
    if len(server.asked) != 2:
        return await cut_once(server, request)
    return web.Response(status=416, headers={"Content-Range": "bytes */5"})


async def disguised(server: Remote, request: web.Request) -> web.StreamResponse:
    """A name and a type that promise something else."""
    return web.Response(body=server.content, content_type="text/html")


SCENARIOS: dict[str, Callable[[Remote, web.Request], Awaitable[web.StreamResponse]]] = {
    "/whole": whole,
    "/talk.mp3": whole,
    "/page.html": disguised,
    "/chunked": chunked,
    "/wrong-part": wrong_part,
    "/wrong-status": wrong_status,
    "/cut": cut,
    "/cut-once": cut_once,
    "/cut-and-changed": cut_and_changed,
    "/cut-without-ranges": cut_without_ranges,
    "/status": status,
    "/redirect": redirect,
    "/listen": web_page,
    "/loop": loop,
    "/silent": silent,
    "/endless": endless,
    "/huge": huge,
    "/half": half,
    "/zeros": zeros,
}


@contextmanager
def running(content: bytes = b"") -> Iterator[Remote]:
    """Run the server in a thread."""
    event_loop = asyncio.new_event_loop()
    ready = threading.Event()
    server = Remote(port=0, loop=event_loop, content=content)

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = Asked(request.method, request.path_qs, dict(request.headers), await request.read())
        with server.has_asked:
            server.asked.append(asked)
            server.has_asked.notify_all()
        return await SCENARIOS[request.path](server, request)

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        server.port = site._server.sockets[0].getsockname()[1]
        return runner

    def serve() -> None:
        asyncio.set_event_loop(event_loop)
        runner = event_loop.run_until_complete(start())
        ready.set()
        event_loop.run_forever()
        event_loop.run_until_complete(runner.cleanup())
        event_loop.run_until_complete(event_loop.shutdown_asyncgens())
        event_loop.close()

    thread = threading.Thread(target=serve, name="remote", daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield server
    finally:
        server.goes_on.set()
        event_loop.call_soon_threadsafe(event_loop.stop)
        thread.join(60)


async def _begin(server: Remote, request: web.Request, *, first: int, knows_ranges: bool = True) -> web.StreamResponse:
    headers = {"Content-Length": str(len(server.content) - first)}
    headers |= {"ETag": server.etag} if server.etag else {}
    headers |= {"Last-Modified": server.modified} if server.modified else {}
    if first:
        headers["Content-Range"] = f"bytes {first}-{len(server.content) - 1}/{len(server.content)}"
    response = web.StreamResponse(status=206 if first else 200, headers=headers)
    await response.prepare(request)
    return response


async def _part(
    server: Remote, request: web.Request, *, count: int | None, knows_ranges: bool = True
) -> web.StreamResponse:
    asked = request.headers.get("Range", "")
    is_meant = request.headers.get("If-Range") in (None, server.etag, server.modified)
    first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and is_meant and knows_ranges else 0
    if first and first >= len(server.content):
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(server.content)}"})
    response = await _begin(server, request, first=first)
    rest = server.content[first : None if count is None else first + count]
    for start in range(0, len(rest), PIECE_BYTES):
        await response.write(rest[start : start + PIECE_BYTES])
    if count is not None:
        assert request.transport is not None
        request.transport.close()
    return response


async def _wait(server: Remote) -> web.StreamResponse:
    await asyncio.get_running_loop().run_in_executor(None, server.goes_on.wait)
    return web.Response()
