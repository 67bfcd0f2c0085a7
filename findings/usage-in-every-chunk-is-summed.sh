#!/bin/sh
# LangChain and pydantic-ai add up the usage of all chunks of a stream, so a running count is multiplied.
#
# Guess: some servers (vLLM with continuous_usage_stats, several hosted ones) repeat the usage so far in every chunk of
#   a stream. A client takes the last one, as it takes the last finish_reason.
# What happens: for a prompt of 100 tokens and an answer of 4 tokens in 4 chunks, with the running count in each, one
#   in the chunk that carries finish_reason and one in the last chunk without choices:
#     langchain-openai    600 input and 18 output tokens, streamed or by invoke() with streaming=True
#     pydantic-ai         600 and 18, too; its setting openai_continuous_usage_stats, off by default, gives 100 and 4
#     AI SDK (npm)        100 and 4
# Why it matters: customers compare these numbers with the invoice of a chat endpoint, and their own budgets stop at
#   them. A relay that sells tokens must pass usage on once, in the last chunk, however often its upstream states it.
#
# Found with langchain-openai 1.7.4, pydantic-ai-slim 2.31.1 and openai 2.54.0, ai 7.0.173 with @ai-sdk/openai 4.0.118
# in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq openai==2.54.0 langchain-openai==1.7.4 langchain-core==1.8.3 "pydantic-ai-slim[openai]==2.31.1"
npm init -y >npm.log
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/openai@4.0.118 >>npm.log
cat >ai.mjs <<'END'
import { createOpenAI } from '@ai-sdk/openai';
import { streamText } from 'ai';

const model = createOpenAI({ apiKey: 'key', baseURL: process.argv[2] }).chat('model');
const { inputTokens, outputTokens } = await streamText({ model, prompt: 'Count.' }).usage;
console.log(inputTokens, outputTokens);
END
cat >run.py <<'END'
import asyncio
import importlib.metadata
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from langchain_openai import ChatOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

WORDS = ["one", " two", " three", " four"]


def events():
    """Yield the chunks of one answer, each with the usage so far."""
    for count, word in enumerate(WORDS, 1):
        yield [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}], count
    yield [{"index": 0, "delta": {}, "finish_reason": "stop"}], len(WORDS)
    yield [], len(WORDS)


class Chat(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for choices, count in events():
            usage = {"prompt_tokens": 100, "completion_tokens": count, "total_tokens": 100 + count}
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "model", "choices": choices}
            self.wfile.write(f"data: {json.dumps(chunk | {'usage': usage})}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"

seen = {}
chat = ChatOpenAI(model="model", base_url=base, api_key="key", stream_usage=True)
parts = list(chat.stream("Count."))
whole = sum(parts[1:], parts[0])
assert whole.content == "one two three four"
seen["langchain stream"] = (whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"])
chat = ChatOpenAI(model="model", base_url=base, api_key="key", stream_usage=True, streaming=True)
usage = chat.invoke("Count.").usage_metadata
seen["langchain invoke"] = (usage["input_tokens"], usage["output_tokens"])


async def ask(**settings):
    agent = Agent(OpenAIChatModel("model", provider=OpenAIProvider(base_url=base, api_key="key")))
    async with agent.run_stream("Count.", model_settings=settings) as result:
        assert await result.get_output() == "one two three four"
        return result.usage.input_tokens, result.usage.output_tokens


seen["pydantic-ai"] = asyncio.run(ask())
seen["pydantic-ai with its setting"] = asyncio.run(ask(openai_continuous_usage_stats=True))
answer = subprocess.run(["node", "ai.mjs", base], check=True, capture_output=True, text=True).stdout
seen["AI SDK"] = tuple(int(number) for number in answer.split())

for name in ("langchain-openai", "langchain-core", "pydantic-ai-slim", "openai"):
    print(name, importlib.metadata.version(name))
for name, value in seen.items():
    print(f"  {name}: {value[0]} input, {value[1]} output")
assert seen == {
    "langchain stream": (600, 18),
    "langchain invoke": (600, 18),
    "pydantic-ai": (600, 18),
    "pydantic-ai with its setting": (100, 4),
    "AI SDK": (100, 4),
}, seen
END
venv/bin/python run.py
echo "as found: 104 tokens are reported as 618 by LangChain and pydantic-ai"
