#!/bin/sh
# faster-whisper-server does not read the field `model`: it answers every request with its model of the name whisper-1.
#
# Guess: a server that hosts several models by name and has OpenAI's address for recordings chooses by the field `model`,
#   which OpenAI's packages require. Its own examples send it.
# What happens: the address reads a form field `model_name`, which no client sends and whose default is whisper-1, and
#   ignores `model`:
#     two models, none of them called whisper-1    400 "unknown model: whisper-1", whichever of the two is asked for
#     the same request with `model_name` beside it reaches the name that was sent
#   So a server whose first model is called whisper-1, as in its example, answers requests for large-fast with that one.
# Why it matters: who compares engines or models through this server compares one model with itself, and who pays for
#   a larger model gets the small one. It also takes any misspelled name without an error.
#
# Found with faster-whisper-server 0.0.3 and openai 2.54.0 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq faster-whisper-server==0.0.3 openai==2.54.0
cat >models.yaml <<'END'
models:
  - name: small-one
    path: small
  - name: large-fast
    path: large-v3
END
cat >run.py <<'END'
import importlib.metadata
import io
import threading
import time
import wave

import openai
import uvicorn
from faster_whisper_server import api
from faster_whisper_server.models import configure_models_from_config

recording = io.BytesIO()
with wave.open(recording, "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(16_000)
    file.writeframes(bytes(32_000))

configure_models_from_config("models.yaml")
server = uvicorn.Server(uvicorn.Config(api.app, port=0, log_level="error"))
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    time.sleep(0.05)
port = server.servers[0].sockets[0].getsockname()[1]
client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="key", max_retries=0)


def refusal(model, **more):
    """Return the message of the 400 that a request for this model gets."""
    try:
        client.audio.transcriptions.create(model=model, file=("a.wav", recording.getvalue()), extra_body=more)
    except openai.BadRequestError as error:
        return error.response.json()["detail"]["error"]["message"]
    raise AssertionError("answered")


for package in ("faster-whisper-server", "openai"):
    print(package, importlib.metadata.version(package))
found = {model: refusal(model) for model in ("small-one", "large-fast")}
found["with model_name"] = refusal("large-fast", model_name="third")
for asked, message in found.items():
    print(f"{asked}: {message}")
assert found == {
    "small-one": "unknown model: whisper-1",
    "large-fast": "unknown model: whisper-1",
    "with model_name": "unknown model: third",
}, found
print("as found: the field model is ignored, and whisper-1 is asked for")
END
venv/bin/python run.py
