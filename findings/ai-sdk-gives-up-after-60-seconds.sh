#!/bin/sh
# The AI SDK gives up on Gladia and Rev AI after 60 seconds, and cannot be told to wait longer.
#
# Guess: a provider for an asynchronous service polls until the job is done, or for as long as the caller says. One
#   hour of speech takes minutes, and queues are normal.
# What happens: the two providers poll once a second and throw TranscriptionJobPollingTimedOut after 60 seconds. The
#   limit is a constant in the package: no option of the call, of the model or of the provider changes it, and a longer
#   `abortSignal` does not. The job is not cancelled: the service finishes and charges it, and the caller has no id in
#   the error's message to fetch it by.
# Why it matters: a service that is called through these providers has 60 seconds for queue and work together.
#   Customers of slower models pay for results that they never see.
#
# Found with ai 7.0.173, @ai-sdk/gladia 3.0.40, @ai-sdk/revai 3.0.40 in 2026-11. It runs for about 100 seconds.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >npm.log
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/gladia@3.0.40 @ai-sdk/revai@3.0.40 >>npm.log
cat >run.mjs <<'END'
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { transcribe } from 'ai';
import { createGladia } from '@ai-sdk/gladia';
import { createRevai } from '@ai-sdk/revai';

// Starts a server whose job never leaves the state that it was created in.
async function service(host, answer) {
  const methods = [];
  const server = createServer((request, response) => {
    methods.push(request.method);
    request.resume().on('end', () => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer(request.method, request.url)));
    });
  });
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  const local = `http://127.0.0.1:${server.address().port}`;
  return { methods, fetch: (url, options) => fetch(String(url).replace(host, local), options) };
}

async function waited(model) {
  const begun = Date.now();
  const abortSignal = AbortSignal.timeout(600_000);
  const error = await transcribe({ model, audio: new Uint8Array(20_000), abortSignal }).catch(error => error);
  return { name: error.name, message: error.message, seconds: (Date.now() - begun) / 1000 };
}

const gladia = await service('https://api.gladia.io', (method, path) => {
  if (path === '/v2/upload') return { audio_url: 'https://files.example/1' };
  if (method === 'POST') return { id: 'job-1', result_url: 'https://api.gladia.io/v2/pre-recorded/job-1' };
  return { id: 'job-1', status: 'processing', result: null };
});
const rev = await service('https://api.rev.ai', () => ({ id: 'job-1', status: 'in_progress', language: 'en' }));
const outcomes = await Promise.all([
  waited(createGladia({ apiKey: 'key', fetch: gladia.fetch }).transcription()),
  waited(createRevai({ apiKey: 'key', fetch: rev.fetch }).transcription('machine')),
]);

for (const name of ['ai', '@ai-sdk/gladia', '@ai-sdk/revai'])
  console.log(name, JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version);
for (const [index, methods] of [gladia.methods, rev.methods].entries()) {
  const polls = methods.filter(method => method === 'GET').length;
  console.log(['gladia', 'rev'][index], outcomes[index], 'polls:', polls);
  assert.equal(outcomes[index].name, 'TranscriptionJobPollingTimedOut');
  assert.ok(!outcomes[index].message.includes('job-1'));
  assert.ok(outcomes[index].seconds > 59 && outcomes[index].seconds < 75, 'it waits about 60 seconds');
  assert.ok(polls > 40 && polls < 64);
  assert.ok(!methods.includes('DELETE'));
}
console.log('as found: both providers give up after 60 seconds and leave the job running');
process.exit(0);
END
node run.mjs
