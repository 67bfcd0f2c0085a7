#!/bin/sh
# Which of two content types stands first in an OpenAPI document decides what a generated Python client can read.
#
# Guess: a transcription endpoint answers JSON or a subtitle file under one status 200, as its field response_format
#   asks. A generated client has both types, looks at the Content-Type of the answer, and reads either. The order of
#   the two in the document, a JSON object, means nothing.
# What happens: openapi-python-client makes code for the first type alone and never looks at the header. With JSON
#   first, an SRT raises JSONDecodeError after the call was made (and paid); with text first, a JSON answer is handed
#   over as an unparsed text. Nothing is said when the client is generated.
# Why it matters: OpenAI's transcription endpoint and most that copy it have one address with several types. Whoever
#   generates a client for such a service loses the transcript, not the charge.
#
# Found with openapi-python-client 0.29.1 and httpx 0.28.1 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openapi-python-client==0.29.1 httpx==0.28.1
PATH="$work/venv/bin:$PATH"
cat > document.py <<'PY'
import json
import sys

TYPES = {
    "application/json": {
        "schema": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
    },
    "text/plain": {"schema": {"type": "string"}},
}
FIELDS = {"response_format": {"type": "string"}}
body = {"schema": {"type": "object", "required": ["response_format"], "properties": FIELDS}}
operation = {
    "operationId": "transcribe",
    "tags": ["audio"],
    "requestBody": {"required": True, "content": {"application/json": body}},
    "responses": {"200": {"description": "It", "content": {name: TYPES[name] for name in sys.argv[1:]}}},
}
print(
    json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "speech", "version": "1"},
            "paths": {"/v1/audio/transcriptions": {"post": operation}},
        }
    )
)
PY
cat > look.py <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

sys.path.insert(0, sys.argv[1])
from speech_client import Client
from speech_client.api.audio import transcribe
from speech_client.models import TranscribeBody

ANSWERS = {
    "json": ("application/json", b'{"text": "hello"}'),
    "srt": ("text/plain; charset=utf-8", b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"),
}


class Service(BaseHTTPRequestHandler):
    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["response_format"]
        kind, answer = ANSWERS[wanted]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = Client(base_url=f"http://127.0.0.1:{server.server_port}")
for wanted in ANSWERS:
    try:
        read = transcribe.sync(client=client, body=TranscribeBody(response_format=wanted))
        print(f"{sys.argv[1]}: {wanted} is {type(read).__name__}")
    except ValueError as error:
        print(f"{sys.argv[1]}: {wanted} is {type(error).__name__}")
PY
venv/bin/pip list --disable-pip-version-check 2>/dev/null | grep -i "openapi-python-client\|httpx"
for order in "application/json text/plain" "text/plain application/json"; do
    name=${order%%/*}-first
    # shellcheck disable=SC2086
    venv/bin/python document.py $order > document.json
    venv/bin/openapi-python-client generate --path document.json --output-path "$name" > log 2>&1 || { cat log; exit 1; }
    venv/bin/python look.py "$name"
done | tee seen
cat > expected <<'TEXT'
application-first: json is TranscribeResponse200
application-first: srt is JSONDecodeError
text-first: json is str
text-first: srt is str
TEXT
diff expected seen
echo "as found: the first content type alone is read, whatever the answer says of itself"
