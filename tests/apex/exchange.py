"""One request to the scripted server and its answer, and what the server remembers of all requests."""

import asyncio
import json
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
            record.clear()


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
