#!/bin/sh
# AI SDK 6 throws on the transcript of a silent recording; AI SDK 7 returns it.
#
# Guess: a recording without speech gets the answer {"text": ""}. The SDK returns an empty text, as all other clients
#   do. The field is present and is a string, so the answer is valid.
# What happens: `transcribe` of version 6 throws AI_NoTranscriptGeneratedError for every provider (here OpenAI's and
#   Deepgram's). The parsed answer with its duration is lost; the error keeps only the response's metadata. Version 7
#   returns the empty text. Both versions are in use: npm chooses version 6 on Node 20, because version 7 asks for
#   Node 22.
# Why it matters: the customer has paid for a silent recording and sees a failure, tries again and pays again. A server
#   cannot mend this by leaving `text` out (version 7 then rejects the answer). A batch with one silent file stops.
#
# Found with ai 6.0.326 and 7.0.173, @ai-sdk/openai 3.0.141 and 4.0.118, @ai-sdk/deepgram 2.0.58 and 3.1.16 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir six seven
(cd six && npm init -y >npm.log &&
    npm install --silent --no-audit --no-fund ai@6.0.326 @ai-sdk/openai@3.0.141 @ai-sdk/deepgram@2.0.58 >>npm.log)
(cd seven && npm init -y >npm.log &&
    npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/openai@4.0.118 @ai-sdk/deepgram@3.1.16 >>npm.log)
cat >run.mjs <<'END'
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import * as ai from 'ai';
import { createDeepgram } from '@ai-sdk/deepgram';
import { createOpenAI } from '@ai-sdk/openai';

const channels = [{ alternatives: [{ transcript: '', confidence: 0, words: [] }] }];
const openai = { text: '', task: 'transcribe', language: 'english', duration: 5, segments: [] };
const deepgram = { metadata: { duration: 5 }, results: { channels } };
let count = 0;
const server = createServer((request, response) => {
  count += 1;
  request.resume().on('end', () => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(request.url.startsWith('/v1/listen') ? deepgram : openai));
  });
});
await new Promise(done => server.listen(0, '127.0.0.1', done));
const local = `http://127.0.0.1:${server.address().port}`;
const toLocal = (url, options) => fetch(String(url).replace('https://api.deepgram.com', local), options);
const transcribe = ai.transcribe ?? ai.experimental_transcribe;
console.log('ai', JSON.parse(readFileSync('node_modules/ai/package.json')).version);
for (const [name, model] of [
  ['openai', createOpenAI({ apiKey: 'key', baseURL: local }).transcription('whisper-1')],
  ['deepgram', createDeepgram({ apiKey: 'key', fetch: toLocal }).transcription('nova-3')],
]) {
  count = 0;
  let outcome;
  try {
    const { text, durationInSeconds } = await transcribe({ model, audio: new Uint8Array(20_000) });
    outcome = `text ${JSON.stringify(text)} duration ${durationInSeconds}`;
  } catch (error) {
    outcome = `${error.name} text ${error.text} duration ${error.durationInSeconds}`;
  }
  console.log(`${name}: ${outcome}, ${count} request`);
}
process.exit(0);
END
for version in six seven; do
    cp run.mjs "$version/"
    (cd "$version" && node run.mjs) | tee "$version.txt"
done
for name in openai deepgram; do
    grep -q "^$name: AI_NoTranscriptGeneratedError text undefined duration undefined, 1 request\$" six.txt
    grep -q "^$name: text \"\" duration 5, 1 request\$" seven.txt
done
echo "as found: version 6 throws on an empty transcript, version 7 returns it"
