#!/bin/sh
# After a 429 Deepgram's SDKs send an empty recording, or hide the 429, when the recording was given as a stream.
#
# Guess: `transcribe_file` takes bytes or a stream. After a 429 it repeats the whole upload, or raises the 429 where
#   the stream cannot be read twice. It waits as long as the service asks for.
# What happens, with one 429 that is followed by 200:
#   * Python, bytes: the upload is repeated.
#   * Python, an iterator: the second upload has 0 bytes. The answer to it is returned as if nothing was wrong.
#   * Python, an open file: httpx raises LocalProtocolError "Too little data for declared Content-Length". The file
#     could be rewound. The 429 is not mentioned.
#   * Node, `createReadStream`: throws "Response body object should not be disturbed or locked", with no status.
#   * Python, `retry-after-ms: 3000`: is compared with a number as a string, fails, and is ignored: tried after 1 s.
# Why it matters: it happens only under load, and only with large recordings, which are those that people stream. A
#   service must refuse an empty body with an error: if it answers with an empty transcript, the caller stores that.
#
# Found with deepgram-sdk 7.17.0 (PyPI) and @deepgram/sdk 5.13.0 (npm) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq deepgram-sdk==7.17.0
cd "$work"
cat >run.py <<'END'
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment

RECORDING = b"x" * 20_000
Path("recording.wav").write_bytes(RECORDING)
ANSWER = b"""{"metadata": {"request_id": "1", "created": "2026-11-28T00:00:00Z", "duration": 1, "channels": 1,
"sha256": "", "models": [], "model_info": {}, "transaction_key": ""}, "results": {"channels": []}}"""


class Busy(BaseHTTPRequestHandler):
    """Answers the first request with 429 and the others with a transcript; keeps the size and time of each."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        seen.append((self.size(), time.monotonic()))
        status, answer = (429, b'{"message": "busy"}') if len(seen) == 1 else (200, ANSWER)
        self.send_response(status)
        for name, value in {**ask, "Content-Type": "application/json", "Content-Length": len(answer)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(answer)

    def size(self):
        if "Content-Length" in self.headers:
            return len(self.rfile.read(int(self.headers["Content-Length"])))
        total = 0
        while size := int(self.rfile.readline(), 16):
            total += len(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return total

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # The client leaves in the middle of its second upload.


server = Server(("127.0.0.1", 0), Busy)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
places = DeepgramClientEnvironment(base=url, production=url, agent=url, agent_rest=url)


def outcome(recording):
    client = DeepgramClient(api_key="key", environment=places)
    try:
        return f"transcript {client.listen.v1.media.transcribe_file(request=recording, model='nova-3').metadata.request_id}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


print("deepgram-sdk", version("deepgram-sdk"))
CASES = {
    "bytes": (RECORDING, {"Retry-After": 1}),
    "iterator": (iter([RECORDING[:9_000], RECORDING[9_000:]]), {"Retry-After": 1}),
    "open file": (open("recording.wav", "rb"), {"Retry-After": 1}),
    "retry-after-ms": (RECORDING, {"Retry-After-Ms": 3000}),
}
found = {}
for name, (recording, ask) in CASES.items():
    seen = []
    result = outcome(recording)
    found[name] = (result, [size for size, _ in seen])
    waited = seen[1][1] - seen[0][1] if len(seen) > 1 else 0
    print(f"{name}: {result}, bytes received {found[name][1]}, waited {waited:.1f} s")

assert found["bytes"] == ("transcript 1", [20_000, 20_000]), found
assert found["iterator"] == ("transcript 1", [20_000, 0]), found
assert found["open file"][0] == "LocalProtocolError: Too little data for declared Content-Length", found
assert found["retry-after-ms"] == ("transcript 1", [20_000, 20_000]) and waited < 3, (found, waited)
END
venv/bin/python run.py

npm init -y >npm.log
npm install --silent --no-audit --no-fund @deepgram/sdk@5.13.0 >>npm.log
cat >run.mjs <<'END'
import assert from 'node:assert/strict';
import { createReadStream, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { DeepgramClient } from '@deepgram/sdk';

let seen = [];
const server = createServer(async (request, response) => {
  let size = 0;
  for await (const chunk of request) size += chunk.length;
  seen.push(size);
  response.writeHead(seen.length === 1 ? 429 : 200, { 'retry-after': '1', 'content-type': 'application/json' });
  response.end(seen.length === 1 ? '{"message":"busy"}' : '{"metadata":{"request_id":"1"},"results":{"channels":[]}}');
});
await new Promise(done => server.listen(0, '127.0.0.1', done));
const url = `http://127.0.0.1:${server.address().port}`;

async function outcome(recording) {
  seen = [];
  const environment = { base: url, production: url, agent: url, agentRest: url };
  const client = new DeepgramClient({ apiKey: 'key', environment });
  try {
    const answer = await client.listen.v1.media.transcribeFile(recording, { model: 'nova-3' });
    return { text: `transcript ${answer.metadata.request_id}`, seen };
  } catch (error) {
    return { text: error.message, status: error.statusCode, seen };
  }
}

console.log('@deepgram/sdk', JSON.parse(readFileSync('node_modules/@deepgram/sdk/package.json')).version);
const buffer = await outcome(readFileSync('recording.wav'));
const stream = await outcome(createReadStream('recording.wav'));
console.log('buffer:', buffer);
console.log('stream:', stream);
assert.deepEqual(buffer, { text: 'transcript 1', seen: [20_000, 20_000] });
const hidden = 'Response body object should not be disturbed or locked';
assert.deepEqual(stream, { text: hidden, status: undefined, seen: [20_000] });
console.log('as found: the second upload of an iterator is empty, and a 429 for an open file is another error');
process.exit(0);
END
node run.mjs
