#!/bin/sh
# LiteLLM judges an error by words in its message: "separate limit" makes a 402 a rate limit, and it is sent again.
#
# Guess: LiteLLM maps an OpenAI-compatible error by its HTTP status. A 402 becomes litellm.PaymentRequiredError,
#   a class that the package has, and is not retried, whatever the text says.
# What happens:
#   * A 402 becomes litellm.APIError on chat and a bare openai.APIStatusError on transcription.
#   * Before the status the message is searched for `rate[ _-]*limit` without a word boundary. "Each key has a separate
#     limit" and "the corporate limit" contain it: the 402 is raised as RateLimitError with status_code 429, and a
#     Router with num_retries=2 sends the request three times. The same happens to 400, 403, 422 and 500.
#   * "Request too large for your credit" is a rate limit too (compared with its capital letter).
#   * With num_retries=2 on completion() itself, every 400 and 402 is sent three times.
# Why it matters: a customer without money is told to slow down, and the caller's fall-backs and cool-downs start.
#   Texts of errors that are not 429 must avoid these words.
#
# Found with litellm 1.110.2 and openai 2.54.0 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq litellm==1.110.2 openai==2.54.0 tenacity==9.2.1
cat >run.py <<'END'
import importlib.metadata
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import litellm

litellm.suppress_debug_info = True
state = {"count": 0, "message": "", "status": 402}


class Refusing(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        state["count"] += 1
        error = {"message": state["message"], "type": "insufficient_funds", "code": state["status"], "param": None}
        body = json.dumps({"error": error}).encode()
        self.send_response(state["status"])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
threading.Thread(target=server.serve_forever, daemon=True).start()
place = {"api_base": f"http://127.0.0.1:{server.server_port}", "api_key": "key"}
messages = [{"role": "user", "content": "Hello"}]
deployment = {"model_name": "chat", "litellm_params": {"model": "openai/model", **place}}


def chat(**options):
    return litellm.completion(model="openai/model", messages=messages, **place, **options)


def transcription():
    return litellm.transcription(model="openai/whisper-1", file=("a.wav", b"RIFF"), max_retries=0, **place)


def through_router():
    return litellm.Router(model_list=[deployment], num_retries=2).completion(model="chat", messages=messages)


def outcome(message, call, status=402):
    """Return (class of the error, its status, requests that the server saw)."""
    state.update(count=0, message=message, status=status)
    try:
        call()
    except Exception as error:
        return type(error).__name__, error.status_code, state["count"]
    return "no error", None, state["count"]


once = lambda: chat(max_retries=0)  # noqa: E731
plain, separate = "The monthly limit of this key is reached.", "Each key has a separate limit. It is reached."
seen = {
    "chat, plain": outcome(plain, once),
    "transcription, plain": outcome(plain, transcription),
    "chat, separate limit": outcome(separate, once),
    "chat, corporate limit": outcome("Your corporate limit is reached.", once),
    "chat, request too large": outcome("Request too large for your credit.", once),
    "chat, separate limit, 403": outcome(separate, once, 403),
    "router, plain": outcome(plain, through_router),
    "router, separate limit": outcome(separate, through_router),
    "num_retries=2, plain": outcome(plain, lambda: chat(num_retries=2)),
}
print("litellm", importlib.metadata.version("litellm"), "openai", importlib.metadata.version("openai"))
for name, value in seen.items():
    print(f"  {name}: {value[0]} {value[1]}, {value[2]} requests")
assert hasattr(litellm, "PaymentRequiredError")
assert seen == {
    "chat, plain": ("APIError", 402, 1),
    "transcription, plain": ("APIStatusError", 402, 1),
    "chat, separate limit": ("RateLimitError", 429, 1),
    "chat, corporate limit": ("RateLimitError", 429, 1),
    "chat, request too large": ("RateLimitError", 429, 1),
    "chat, separate limit, 403": ("RateLimitError", 429, 1),
    "router, plain": ("APIError", 402, 1),
    "router, separate limit": ("RateLimitError", 429, 3),
    "num_retries=2, plain": ("APIError", 402, 3),
}, seen
END
LITELLM_LOCAL_MODEL_COST_MAP=True venv/bin/python run.py
echo "as found: a 402 that says 'separate limit' is a RateLimitError and is sent three times by a router"
