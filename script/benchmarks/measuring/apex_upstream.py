"""The upstream of `script/benchmark apex`. It answers at once, and uses little CPU: it is a bare asyncio protocol.

Usage: python script/benchmarks/measuring/apex_upstream.py PORT. If the last message is "stream COUNT SECONDS", a stream
has COUNT chunks, one every SECONDS. The text of each chunk is the time at which it was sent (CLOCK_MONOTONIC, ns).
"""

import asyncio
import json
import sys
import time

import uvloop

USAGE = {"prompt_tokens": 18, "completion_tokens": 10, "total_tokens": 28}
COMMON = {"id": "chatcmpl-bench", "created": 1776625997, "model": "deepseek/deepseek-v3.2"}
ANSWER = json.dumps(
    {
        **COMMON,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello! How can I help you today?"},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
).encode()
WHOLE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + str(len(ANSWER)).encode() + b"\r\n\r\n"
) + ANSWER
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(**more: object) -> bytes:
    return b"data: " + json.dumps({**COMMON, "object": "chat.completion.chunk", **more}).encode() + b"\n\n"


def chunked(raw: bytes) -> bytes:
    return f"{len(raw):x}\r\n".encode() + raw + b"\r\n"


class Connection(asyncio.Protocol):
    """One connection, which handles its requests one after another."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer, self.tasks = transport, b"", set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            mark = head.find(b"content-length:")
            length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            if b'"stream": true' in body or b'"stream":true' in body:
                task = asyncio.ensure_future(self.stream(body))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
            else:
                self.transport.write(WHOLE)

    async def stream(self, body: bytes) -> None:
        _, count, pause = json.loads(body)["messages"][-1]["content"].split()
        self.transport.write(STREAM_HEAD)
        for number in range(int(count)):
            delta = {"content": f"{time.monotonic_ns()} "}
            choice = {"index": 0, "delta": delta, "finish_reason": None if number + 1 < int(count) else "stop"}
            self.transport.write(chunked(event(choices=[choice])))
            await asyncio.sleep(float(pause))
        usage = {**USAGE, "completion_tokens": int(count)}
        self.transport.write(chunked(event(choices=[], usage=usage) + b"data: [DONE]\n\n") + b"0\r\n\r\n")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(sys.argv[1]), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
