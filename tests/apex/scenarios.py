"""How the scripted server can behave, by the first word of a request's last message. SCENARIOS has all."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.apex.exchange import HOSTILE, SECRET, Exchange

RECORDINGS_DIR = Path(__file__).parent / "recordings"


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


async def recording(exchange: Exchange) -> web.StreamResponse:
    """Send the file of that name in pieces, as its upstream would: "recording gemini.sse"."""
    raw = (RECORDINGS_DIR / exchange.words[1]).read_bytes()
    if not exchange.is_stream:
        return web.Response(body=raw, content_type="application/json")
    await exchange.begin()
    for position in range(0, len(raw), 61):
        await exchange.send(raw[position : position + 61])
    assert exchange.response is not None
    return exchange.response


async def thinking(exchange: Exchange) -> web.StreamResponse:
    """Send a comment every 0.4 s, "thinking 8" eight of them, and then three words; "thinking 8 0" an error instead."""
    await exchange.begin()
    for _ in range(int(exchange.number(1, 8))):
        await exchange.send(b": OPENROUTER PROCESSING\n\n")
        await asyncio.sleep(0.4)
    if exchange.number(2, 3) == 0:
        await exchange.send(b'data: {"error": {"message": "exploded", "code": 502}}\n\n')
        assert exchange.response is not None
        return exchange.response
    for word in words_of(3):
        await exchange.word(word)
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
    "recording": recording,
    "thinking": thinking,
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
