"""A real OpenAI-compatible server. The first word of a request's last message chooses its behaviour.

Examples: "normal 5" answers five words, "slow 5 0.1" sends one word every 0.1 s; `scenarios` has all, and any other
word is as "normal". The server counts the tokens that it produces, so that a test can compare them with our ledger. The
paths /first and /second stand for two upstreams. A scenario that begins with "first-" applies to /first only; /second
then answers normally. Of "silent 9 | status 500" the first is for /first, the second for /second.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.apex.exchange import Exchange, ScriptedUpstream
from tests.apex.scenarios import SCENARIOS


def make_app(server: ScriptedUpstream) -> web.Application:
    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        server.bodies.append(body)
        server.headers.append(dict(request.headers))
        server.paths.append(request.path)
        content = body["messages"][-1].get("content")
        first, _, second = content.partition(" | ") if isinstance(content, str) else ("", "", "")
        words = (second if second and request.path.startswith("/second") else first).split()
        if not words or words[0].removeprefix("first-") not in SCENARIOS:
            words = ["normal"]
        if words[0].startswith("first-"):
            words[0] = words[0].removeprefix("first-")
            if request.path.startswith("/second"):
                words = ["normal", "5"]
        exchange = Exchange(server, request, body, words)
        try:
            return await SCENARIOS[words[0]](exchange)
        except ConnectionError:
            # The client has closed the connection, as many tests intend.
            assert exchange.response is not None
            return exchange.response

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        server.paths.append(request.path)
        return web.json_response({"choices": []})

    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_post("/{prefix:first|second}/chat/completions", chat)
    app.router.add_post("/elsewhere/chat/completions", elsewhere)
    return app


@contextmanager
def running(*, port: int = 0) -> Iterator[ScriptedUpstream]:
    """Run the server in a thread while the context is open."""
    loop = asyncio.new_event_loop()
    server = ScriptedUpstream(address="", loop=loop)
    is_up = threading.Event()

    async def serve() -> None:
        runner = web.AppRunner(make_app(server), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        assert site._server is not None
        server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        is_up.set()
        try:
            await stopped.wait()
        finally:
            await runner.cleanup()
            # Cancel the handlers that still sleep.
            rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    stopped = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert is_up.wait(60)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(timeout=60)
        loop.close()
