#!/bin/sh
# Together's package for Python refuses the address of a recording that its own types and help offer.
#
# Guess: `audio.transcriptions.create(file=...)` is typed as a file or a text, and its help says "Audio file upload or
#   public HTTP/HTTPS URL". So a text that is an address is sent, as the package for Node of the same vendor does.
# What happens: Python raises RuntimeError before anything is sent, in transcriptions and in translations. A path as a
#   text is refused with the same words. The package for Node sends the address as a field of the form called `file`.
# Why it matters: a program that passes addresses works in one language and not in the other. A server that wants to take
#   both must take `file` as a field that is no file, and tell it from a broken upload.
#
# Found with together 3.1.1 (PyPI) and together-ai 0.52.0 (npm) in 2026-11.
set -eu
work=$(mktemp -d)
server=
trap 'rm -rf "$work"; [ -z "$server" ] || kill "$server" 2>/dev/null' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check together==3.1.1
npm install --silent --no-audit --no-fund together-ai@0.52.0
cat > server.py <<'PY'
import http.server


class Recorder(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("requests.log", "ab") as log:
            log.write(body + b"\n")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"text": "hello"}')

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Recorder)
with open("port.new", "w") as file:
    file.write(str(server.server_port))
__import__("os").rename("port.new", "port")
server.serve_forever()
PY
: > requests.log
python3 server.py &
server=$!
while [ ! -e port ]; do sleep 0.1; done
cat > look.py <<'PY'
import inspect
import sys
import typing

from together import Together
from together.resources.audio.transcriptions import TranscriptionsResource

ADDRESS = "https://example.com/call.mp3"
client = Together(api_key="none", base_url=f"http://127.0.0.1:{sys.argv[1]}/v1", max_retries=0)
assert "URL" in inspect.getdoc(TranscriptionsResource.create)
assert str in typing.get_args(typing.get_type_hints(TranscriptionsResource.create)["file"])
for api in (client.audio.transcriptions, client.audio.translations):
    try:
        api.create(file=ADDRESS, model="openai/whisper-large-v3")
    except RuntimeError as error:
        print(f"python: {error}")
    else:
        raise AssertionError("it was sent")
PY
cat > look.mjs <<'JS'
import Together from 'together-ai';
const client = new Together({ apiKey: 'none', baseURL: `http://127.0.0.1:${process.argv[2]}/v1`, maxRetries: 0 });
const file = 'https://example.com/call.mp3';
console.log(JSON.stringify(await client.audio.transcriptions.create({ file, model: 'openai/whisper-large-v3' })));
JS
venv/bin/pip list --disable-pip-version-check 2>/dev/null | grep -i '^together '
npm ls --depth=0 | grep together
venv/bin/python look.py "$(cat port)"
[ ! -s requests.log ] || { echo "Python sent something"; exit 1; }
node look.mjs "$(cat port)"
python3 - <<'PY'
body = open("requests.log").read()
print(body)
head, _, rest = body.partition('name="file"')
assert rest.lstrip().startswith("https://example.com/call.mp3"), rest
assert "filename" not in body
print("as found: Python refuses the address that its types and help offer, and Node sends it as a field called file")
PY
