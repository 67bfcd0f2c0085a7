#!/bin/sh
# One failed poll makes the AI SDK upload the recording again and order a second job.
#
# Guess: the AI SDK's providers for asynchronous services (Gladia, Rev AI, AssemblyAI) upload the recording, create a
#   job and poll it. A single 503 on a poll is retried as a poll. The job already exists, so nothing is lost.
# What happens: the SDK's retry stands around the whole call, and the providers do not catch a failed poll.
#   Gladia: upload, create, poll (503), upload, create, poll. The second job's text is returned, the first is orphaned.
#   Rev AI: with polls that keep failing, three jobs exist before the error is thrown.
#   AssemblyAI: nothing is retried, and what is thrown is no Error at all but a plain object
#   {value, responseHeaders}: `error.message` is undefined and `String(error)` is "[object Object]".
# Why it matters: a service that charges per job charges two or three times for one recording, because of a fault of a
#   cheap GET. No request carries an idempotency key. Such a service must answer polls with 200 and the job's last
#   known status while its database is away, and recognise a repeated upload by its hash.
#
# Found with ai 7.0.173, @ai-sdk/gladia 3.0.40, @ai-sdk/revai 3.0.40, @ai-sdk/assemblyai 3.0.40 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >npm.log
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/gladia@3.0.40 @ai-sdk/revai@3.0.40 \
    @ai-sdk/assemblyai@3.0.40 >>npm.log
cat >run.mjs <<'END'
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { transcribe } from 'ai';
import { createAssemblyAI } from '@ai-sdk/assemblyai';
import { createGladia } from '@ai-sdk/gladia';
import { createRevai } from '@ai-sdk/revai';

globalThis.AI_SDK_LOG_WARNINGS = false;

// Starts a server that answers with `answer(method, path, number of this poll)` and keeps a list of the requests.
async function service(host, answer) {
  const seen = [];
  let polls = 0;
  const server = createServer(async (request, response) => {
    let size = 0;
    for await (const chunk of request) size += chunk.length;
    seen.push(`${request.method} ${request.url}${size > 1000 ? ' (recording)' : ''}`);
    if (request.method === 'GET') polls += 1;
    const [status, body] = answer(request.method, request.url, polls);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  const local = `http://127.0.0.1:${server.address().port}`;
  return { seen, fetch: (url, options) => fetch(String(url).replace(host, local), options), server };
}

async function outcome(model) {
  try {
    return { text: (await transcribe({ model, audio: new Uint8Array(20_000) })).text };
  } catch (error) {
    return { error };
  }
}

const busy = [503, { error: 'busy' }];

const gladia = await service('https://api.gladia.io', (method, path, polls) => {
  if (path === '/v2/upload') return [200, { audio_url: 'https://files.example/1' }];
  if (method === 'POST') return [201, { id: '1', result_url: 'https://api.gladia.io/v2/pre-recorded/1' }];
  if (polls === 1) return busy;
  const utterances = [{ start: 0, end: 1, text: 'hello' }];
  const transcription = { full_transcript: 'hello', languages: ['en'], utterances };
  return [200, { id: '1', status: 'done', result: { metadata: { audio_duration: 1 }, transcription } }];
});
const first = await outcome(createGladia({ apiKey: 'key', fetch: gladia.fetch }).transcription());

const rev = await service('https://api.rev.ai', method =>
  method === 'POST' ? [200, { id: '1', status: 'in_progress', language: 'en' }] : busy);
const second = await outcome(createRevai({ apiKey: 'key', fetch: rev.fetch }).transcription('machine'));

const assembly = await service('https://api.assemblyai.com', (method, path) => {
  if (path === '/v2/upload') return [200, { upload_url: 'https://files.example/1' }];
  return method === 'POST' ? [200, { id: '1', status: 'queued' }] : busy;
});
const third = await outcome(createAssemblyAI({ apiKey: 'key', fetch: assembly.fetch }).transcription('universal-3-5-pro'));

for (const name of ['ai', '@ai-sdk/gladia', '@ai-sdk/revai', '@ai-sdk/assemblyai'])
  console.log(name, JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version);
console.log('gladia, the first poll fails:', first.text, gladia.seen);
console.log('rev, every poll fails:', String(second.error), rev.seen);
console.log('assemblyai, every poll fails:', String(third.error), Object.keys(third.error), assembly.seen);

const job = ['POST /v2/upload (recording)', 'POST /v2/pre-recorded', 'GET /v2/pre-recorded/1'];
assert.deepEqual(gladia.seen, [...job, ...job]);
assert.equal(first.text, 'hello');
const order = ['POST /speechtotext/v1/jobs (recording)', 'GET /speechtotext/v1/jobs/1'];
assert.deepEqual(rev.seen, [...order, ...order, ...order]);
assert.equal(second.error.name, 'AI_RetryError');
assert.deepEqual(assembly.seen, ['POST /v2/upload (recording)', 'POST /v2/transcript', 'GET /v2/transcript/1']);
assert.equal(third.error instanceof Error, false);
assert.equal(third.error.message, undefined);
assert.deepEqual(Object.keys(third.error).sort(), ['responseHeaders', 'value']);
console.log('as found: a failed poll orders two jobs at Gladia, three at Rev AI, and throws a plain object at AssemblyAI');
process.exit(0);
END
node run.mjs
