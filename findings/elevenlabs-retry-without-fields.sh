#!/bin/sh
# After a 429 the ElevenLabs SDK for Python sends the recording again without any of the options.
#
# Guess: a request that is answered with 429 or 5xx is repeated as it was. The SDK retries twice by default.
# What happens: the retry keeps the files and drops the form fields. The first attempt has the model, the language,
#   `diarize` and the number of speakers; the second has the recording alone. A server with defaults answers 200, and
#   the caller gets a transcript by another model, in a guessed language, with everybody one speaker. A server that
#   needs `model_id` answers 422, and the caller sees a missing field that was given. It is the same with AsyncElevenLabs.
#   The first attempt also has three fields `null` that nobody gave: webhook_metadata, entity_detection, entity_redaction.
#   The SDK for Node sends all fields again.
# Why it matters: it happens only under load. A service that speaks this dialect cannot tell the second attempt from
#   a plain order. It should ask for `model_id`, and repeat its own 429 at most where an upload is cheap.
#
# Found with elevenlabs 2.78.0 (PyPI) and @elevenlabs/elevenlabs-js 2.73.0 (npm) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq elevenlabs==2.78.0
cd "$work"
cat >run.py <<'END'
import asyncio
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

from elevenlabs.client import AsyncElevenLabs, ElevenLabs

ANSWER = {"language_code": "en", "language_probability": 1, "text": "hello", "words": []}
OPTIONS = {"model_id": "scribe_v2", "language_code": "de", "diarize": True, "num_speakers": 2, "keyterms": ["Voxsite"]}


class Busy(BaseHTTPRequestHandler):
    """Answers the first request with 429, the others with a transcript, and keeps each one's form."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        seen.append(re.findall(r'name="(\w+)"(?:; filename="\w+"\r\n[^\r]*)?\r\n\r\n([^\r]*)', body))
        status, answer = (429, {"detail": "busy"}) if len(seen) == 1 else (200, ANSWER)
        self.send_response(status)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Busy)
threading.Thread(target=server.serve_forever, daemon=True).start()
place = {"api_key": "key", "base_url": f"http://127.0.0.1:{server.server_port}"}


async def wait():
    return await AsyncElevenLabs(**place).speech_to_text.convert(file=b"recording", **OPTIONS)


print("elevenlabs", version("elevenlabs"))
for name, call in {
    "ElevenLabs": lambda: ElevenLabs(**place).speech_to_text.convert(file=b"recording", **OPTIONS),
    "AsyncElevenLabs": lambda: asyncio.run(wait()),
}.items():
    seen = []
    text = call().text
    print(name, "returns", repr(text))
    for number, form in enumerate(seen, 1):
        print(f"    attempt {number}: {form}")
    first, second = seen
    given = {("model_id", "scribe_v2"), ("language_code", "de"), ("diarize", "true"), ("num_speakers", "2")}
    nobody_gave = {(field, "null") for field in ("webhook_metadata", "entity_detection", "entity_redaction")}
    assert text == "hello", text
    assert set(first) == given | nobody_gave | {("keyterms", "Voxsite"), ("file", "recording")}, first
    assert second == [("file", "recording")], second
print("as found: the second attempt has the recording and no options")
END
venv/bin/python run.py
