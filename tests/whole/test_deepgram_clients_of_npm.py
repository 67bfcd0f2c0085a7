"""Deepgram's own package for Node.js, unmodified, against the running product."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients import Node
from tests.fixtures import tiny_whisper
from tests.product import Product
from tests.whole.customer import Customer

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

PACKAGE = "@deepgram/sdk@5.13.0"
HELLO = tiny_whisper.SAMPLES / "en-hello.wav"
WORDS = "hello thank you please call me tomorrow morning"
PROGRAM = """
import fs from 'node:fs';
import { DeepgramClient } from '@deepgram/sdk';
const [baseUrl, apiKey, recording] = process.argv.slice(2);
const media = (key) => new DeepgramClient({ apiKey: key, baseUrl, maxRetries: 0 }).listen.v1.media;
const own = media(apiKey);
const failure = async (call) => {
  try {
    await call();
  } catch (error) {
    return { status: error.statusCode, body: error.body };
  }
};
const bytes = fs.readFileSync(recording);
const shown = {
  buffer: await own.transcribeFile(bytes, {
    model: 'nova-3', smart_format: true, diarize: true, utterances: true, detect_language: true,
    keyterm: ['tomorrow', 'morning'], tag: 'greeting',
  }),
  blob: await own.transcribeFile(new Blob([bytes], { type: 'audio/wav' }), { model: 'nova-3' }),
  stream: await own.transcribeFile(fs.createReadStream(recording), { model: 'nova-3', language: 'en' }),
  path: await own.transcribeFile({ path: recording }, {}),
  empty: await failure(() => own.transcribeFile(Buffer.alloc(0), { model: 'nova-3' })),
  language: await failure(() => own.transcribeFile(bytes, { language: 'klingon' })),
  url: await failure(() => own.transcribeUrl({ url: 'http://127.0.0.1/a.mp3' })),
  key: await failure(() => media('vxp_live_no').transcribeFile(bytes, {})),
};
console.log(JSON.stringify(shown));
"""


def alternative(answer: dict[str, Any]) -> dict[str, Any]:
    [channel] = answer["results"]["channels"]
    [found] = channel["alternatives"]
    return dict(found)


def test_deepgram_sdk_for_node(whisper_site: Product, node: Node, tmp_path: Path) -> None:
    key = Customer(whisper_site, "node@example.com").headers["X-API-Key"]
    node.install(tmp_path, PACKAGE)
    shown = json.loads(node.run(tmp_path, PROGRAM, whisper_site.address, key, HELLO).splitlines()[-1])
    for form in ("buffer", "blob", "stream", "path"):
        assert alternative(shown[form])["transcript"] == WORDS, form
        assert shown[form]["metadata"]["sha256"] == hashlib.sha256(HELLO.read_bytes()).hexdigest()
    heard = shown["buffer"]
    assert [word["word"] for word in alternative(heard)["words"]] == WORDS.split()
    assert {word["speaker"] for word in alternative(heard)["words"]} == {0}
    assert " ".join(utterance["transcript"] for utterance in heard["results"]["utterances"]) == WORDS
    assert heard["metadata"]["tags"] == ["greeting"]
    assert heard["results"]["channels"][0]["detected_language"] == "en"
    for fault, status, code in (
        ("empty", 400, "Bad Request"),
        ("language", 400, "Bad Request"),
        ("url", 400, "Bad Request"),
        ("key", 401, "INVALID_AUTH"),
    ):
        assert (shown[fault]["status"], shown[fault]["body"]["err_code"]) == (status, code)
        assert shown[fault]["body"]["err_msg"]
