"""A real OpenAI-compatible server. The first word of a request's last message chooses its behaviour.

Examples: "normal 5" answers five words, "slow 5 0.1" sends one word every 0.1 s; SCENARIOS has all. The server counts
the tokens that it produces, so that a test can compare them with our ledger. The paths /first and /second stand for
two upstreams. A scenario that begins with "first-" applies to /first only; /second then answers normally.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

MODEL = "deepseek/deepseek-v3.2"
PROMPT_TOKENS = 18
HOSTILE = '<script>document.title="taken"</script><img src=x onerror=alert(1)> [pay](https://evil.example/)'
SECRET = "sk-upstream-secret-0123456789"


@dataclass
class Produced:
    """The tokens that the server produced for one request."""

    prompt_tokens: int
    completion_tokens: int = 0
    is_whole: bool = False


@dataclass
class ScriptedUpstream:
    """A running server."""

    address: str
    loop: asyncio.AbstractEventLoop
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    # By the "id" of the completion.
    produced: dict[str, Produced] = field(default_factory=dict)

    def forget(self) -> None:
        for record in (self.bodies, self.headers, self.paths, self.produced):
            record.clear()  # type: ignore[attr-defined]


class Exchange:
    """One request and its answer."""

    def __init__(self, server: ScriptedUpstream, request: web.Request, body: dict[str, Any], words: list[str]) -> None:
        self.server, self.request, self.body, self.words = server, request, body, words
        self.id = f"chatcmpl-{len(server.bodies)}"
        self.response: web.StreamResponse | None = None

    def number(self, position: int, default: float) -> float:
        return float(self.words[position]) if len(self.words) > position else default

    @property
    def is_stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def record(self) -> Produced:
        return self.server.produced.setdefault(self.id, Produced(PROMPT_TOKENS))

    def usage(self) -> dict[str, int]:
        done = self.record
        return {
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.completion_tokens,
            "total_tokens": done.prompt_tokens + done.completion_tokens,
        }

    def chunk(self, delta: dict[str, Any] | None, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": 1776625997,
            "model": self.body["model"],
            "choices": choices,
            **more,
        }

    async def begin(self) -> web.StreamResponse:
        self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await self.response.prepare(self.request)
        return self.response

    async def send(self, raw: bytes) -> None:
        assert self.response is not None
        await self.response.write(raw)

    async def event(self, chunk: dict[str, Any]) -> None:
        await self.send(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    async def word(self, text: str) -> None:
        # Counted before it is sent, because a word that is lost on its way was produced too.
        self.record.completion_tokens += 1
        await self.event(self.chunk({"content": text}))

    async def finish(self, *, usage: Any = None, reason: str = "stop") -> web.StreamResponse:
        await self.event(self.chunk({}, finish=reason))
        if self.body.get("stream_options", {}).get("include_usage") and usage is not Ellipsis:
            await self.event(self.chunk(None, usage=self.usage() if usage is None else usage))
        await self.send(b"data: [DONE]\n\n")
        self.record.is_whole = True
        assert self.response is not None
        return self.response

    async def cut(self) -> web.StreamResponse:
        """Close the connection in the middle."""
        assert self.request.transport is not None
        self.request.transport.abort()
        assert self.response is not None
        return self.response

    def whole(self, message: dict[str, Any], *, usage: Any = None, finish: str = "stop", **more: Any) -> web.Response:
        self.record.is_whole = True
        answer = {
            "id": self.id,
            "object": "chat.completion",
            "created": 1776625997,
            "model": self.body["model"],
            "choices": [
                {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, "logprobs": None}
            ],
            "usage": self.usage() if usage is None else usage,
            **more,
        }
        if answer["usage"] is Ellipsis:
            del answer["usage"]
        return web.json_response(answer)


def words_of(count: float) -> list[str]:
    return [f"word{number} " for number in range(int(count))]


async def normal(exchange: Exchange, *, usage: Any = None, pause: float = 0.0) -> web.StreamResponse:
    words = words_of(exchange.number(1, 5))
    if not exchange.is_stream:
        exchange.record.completion_tokens = len(words)
        await asyncio.sleep(pause * len(words))
        return exchange.whole({"content": "".join(words).strip()}, usage=usage)
    await exchange.begin()
    await exchange.event(exchange.chunk({"role": "assistant", "content": ""}))
    for word in words:
        await exchange.word(word)
        if pause:
            await asyncio.sleep(pause)
    return await exchange.finish(usage=usage)


async def slow(exchange: Exchange) -> web.StreamResponse:
    return await normal(exchange, pause=exchange.number(2, 0.1))


async def stall(exchange: Exchange) -> web.StreamResponse:
    """Send a few words and then nothing more."""
    await exchange.begin()
    for word in words_of(exchange.number(1, 3)):
        await exchange.word(word)
    await asyncio.sleep(exchange.number(2, 60))
    return await exchange.cut()


async def silent(exchange: Exchange) -> web.StreamResponse:
    await asyncio.sleep(exchange.number(1, 60))
    return await normal(exchange)


async def cut(exchange: Exchange) -> web.StreamResponse:
    """End in the middle of a chunk."""
    await exchange.begin()
    for word in words_of(exchange.number(1, 3)):
        await exchange.word(word)
    await exchange.send(b'data: {"id": "chatcmpl-')
    await asyncio.sleep(0.05)
    return await exchange.cut()


async def error_inside(exchange: Exchange) -> web.StreamResponse:
    await exchange.begin()
    for word in words_of(exchange.number(1, 3)):
        await exchange.word(word)
    await exchange.send(b'data: {"error": {"message": "engine of %s exploded", "code": 500}}\n\n' % SECRET.encode())
    assert exchange.response is not None
    return exchange.response


async def no_end(exchange: Exchange) -> web.StreamResponse:
    """Close cleanly, but without [DONE]."""
    await exchange.begin()
    for word in words_of(exchange.number(1, 3)):
        await exchange.word(word)
    assert exchange.response is not None
    return exchange.response


async def empty(exchange: Exchange) -> web.StreamResponse:
    await exchange.begin()
    await exchange.send(b"data: [DONE]\n\n")
    assert exchange.response is not None
    return exchange.response


async def huge(exchange: Exchange) -> web.StreamResponse:
    """Send an event of some megabytes."""
    if not exchange.is_stream:
        return exchange.whole({"content": "x" * 20_000_000})
    await exchange.begin()
    await exchange.word("word ")
    await exchange.event(exchange.chunk({"content": "x" * int(exchange.number(1, 3_000_000))}))
    return await exchange.finish()


async def flood(exchange: Exchange) -> web.StreamResponse:
    """Send megabytes in events of 32 KiB: more than the socket buffers hold when the client does not read."""
    await exchange.begin()
    for _ in range(int(exchange.number(1, 20) * 32)):
        exchange.record.completion_tokens += 1
        await exchange.event(exchange.chunk({"content": "x" * 32 * 1024}))
    return await exchange.finish()


async def crlf(exchange: Exchange) -> web.StreamResponse:
    """Send other line ends, comments, unused fields and an event with two data lines, in pieces of seven bytes."""
    await exchange.begin()
    exchange.record.completion_tokens = 2
    first = json.dumps(exchange.chunk({"content": "word0 "})).encode()
    head, tail = json.dumps(exchange.chunk({"content": "wörd1"}), ensure_ascii=False).encode().split(b", ", 1)
    usage = json.dumps(exchange.chunk(None, usage=exchange.usage())).encode()
    raw = (
        b": OPENROUTER PROCESSING\r\n\r\n"
        b"event: message\r\nid: 1\r\ndata: " + first + b"\r\n\r\n: keep-alive\n\n"
        b"retry: 10\ndata:" + head + b",\ndata: " + tail + b"\n\ndata: " + usage + b"\r\n\r\ndata: [DONE]\r\n\r\n"
    )
    for position in range(0, len(raw), 7):
        await exchange.send(raw[position : position + 7])
        await asyncio.sleep(0)
    exchange.record.is_whole = True
    assert exchange.response is not None
    return exchange.response


async def status(exchange: Exchange) -> web.StreamResponse:
    """Answer "status 429 7": a status, and Retry-After if there is a second number."""
    headers = {"Retry-After": exchange.words[2]} if len(exchange.words) > 2 else {}
    message = f"Incorrect API key provided: {SECRET}. See https://upstream.internal/keys"
    return web.json_response(
        {"error": {"message": message, "type": "x"}}, status=int(exchange.number(1, 500)), headers=headers
    )


async def refuse(exchange: Exchange) -> web.StreamResponse:
    message = "This model's maximum context length is 128 tokens. Ask https://upstream.internal or sk-abcdef123456."
    return web.json_response({"error": {"message": message}}, status=400)


async def redirect(exchange: Exchange) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("/elsewhere/chat/completions")


async def not_json(exchange: Exchange) -> web.StreamResponse:
    if exchange.is_stream:
        await exchange.begin()
        await exchange.send(b"data: <html>\n\n")
        assert exchange.response is not None
        return exchange.response
    return web.Response(text="<html>", content_type="text/html")


async def tools(exchange: Exchange) -> web.StreamResponse:
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    exchange.record.completion_tokens = 9
    if not exchange.is_stream:
        calls = [{"id": "call_1", "type": "function", "function": function}]
        return exchange.whole({"content": None, "tool_calls": calls}, finish="tool_calls")
    await exchange.begin()
    for piece in ('{"city": ', '"Paris"}'):
        call = {"index": 0, "id": "call_1", "type": "function", "function": {**function, "arguments": piece}}
        await exchange.event(exchange.chunk({"tool_calls": [call]}))
    return await exchange.finish(reason="tool_calls")


async def echo(exchange: Exchange) -> web.StreamResponse:
    """Answer with the request as the text, and with an unknown field."""
    exchange.record.completion_tokens = 1
    return exchange.whole({"content": json.dumps(exchange.body)}, x_unknown={"kept": [1, 2.5, None]})


async def linger(exchange: Exchange) -> web.StreamResponse:
    """Send [DONE] and keep the connection open."""
    await exchange.begin()
    await exchange.word("word ")
    response = await exchange.finish()
    await asyncio.sleep(60)
    return response


async def early_usage(exchange: Exchange) -> web.StreamResponse:
    """State usage with the first word only, send the other words, then stall."""
    await exchange.begin()
    for number, word in enumerate(words_of(exchange.number(1, 5))):
        exchange.record.completion_tokens += 1
        await exchange.event(exchange.chunk({"content": word}, **({} if number else {"usage": exchange.usage()})))
    await asyncio.sleep(60)
    return await exchange.cut()


async def odd(exchange: Exchange) -> web.StreamResponse:
    """Send what no database accepts: bytes that are not UTF-8, a null character, a lone surrogate."""
    await exchange.begin()
    await exchange.word("word ")
    await exchange.send(b": caf\xe9 \0\n\n")
    return await exchange.finish(reason="\ud800")


async def ever_deeper(exchange: Exchange) -> web.StreamResponse:
    """Send chunks that are nested ever deeper, until one can be parsed but not written as JSON again."""
    await exchange.begin()
    for depth in range(900, 1000):
        exchange.record.completion_tokens += 1
        chunk = json.dumps(exchange.chunk({"content": "word "}, usage=None, x_deep=0))
        deep = chunk.replace('"x_deep": 0', f'"x_deep": {"[" * depth}{"]" * depth}')
        await exchange.send(b"data: " + deep.encode() + b"\n\n")
    return await exchange.finish()


async def summarise(exchange: Exchange) -> web.StreamResponse:
    """Answer a request for a summary like a model that follows instructions in the transcript."""
    exchange.record.completion_tokens = 20
    return exchange.whole({"content": f"A summary. {HOSTILE}"})


async def unstorable(exchange: Exchange) -> web.StreamResponse:
    """Answer what no database accepts, and end at the limit of tokens."""
    exchange.record.completion_tokens = 3
    return exchange.whole({"content": "odd\0 \ud83d words"}, finish="length")


async def hostile(exchange: Exchange) -> web.StreamResponse:
    """Answer HTML that a page must not render."""
    exchange.record.completion_tokens = 20
    if not exchange.is_stream:
        return exchange.whole({"content": HOSTILE})
    await exchange.begin()
    for start in range(0, len(HOSTILE), 7):
        await exchange.event(exchange.chunk({"content": HOSTILE[start : start + 7]}))
    return await exchange.finish()


Scenario = Callable[[Exchange], Awaitable[web.StreamResponse]]
SCENARIOS: dict[str, Scenario] = {
    "normal": normal,
    "slow": slow,
    "stall": stall,
    "silent": silent,
    "cut": cut,
    "error-inside": error_inside,
    "no-end": no_end,
    "empty": empty,
    "huge": huge,
    "flood": flood,
    "crlf": crlf,
    "status": status,
    "refuse": refuse,
    "redirect": redirect,
    "not-json": not_json,
    "tools": tools,
    "Summarise": summarise,
    "hostile": hostile,
    "unstorable": unstorable,
    "echo": echo,
    "linger": linger,
    "early-usage": early_usage,
    "odd": odd,
    "ever-deeper": ever_deeper,
    "no-usage": lambda exchange: normal(exchange, usage=...),
    "zero-usage": lambda exchange: normal(
        exchange, usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    ),
    "mad-usage": lambda exchange: normal(
        exchange, usage={"prompt_tokens": 10**9, "completion_tokens": 10**9, "total_tokens": 2 * 10**9}
    ),
    "priced-usage": lambda exchange: normal(
        exchange, usage={**exchange.usage(), "cost": 0.00012, "cost_details": {"upstream": 1}, "is_byok": False}
    ),
    "nonsense-usage": lambda exchange: normal(exchange, usage={"prompt_tokens": -4, "completion_tokens": "many"}),
}


def make_app(server: ScriptedUpstream) -> web.Application:
    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        server.bodies.append(body)
        server.headers.append(dict(request.headers))
        server.paths.append(request.path)
        content = body["messages"][-1].get("content") or "normal"
        words = content.split() if isinstance(content, str) else ["normal"]
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
    assert is_up.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(timeout=10)
        loop.close()
