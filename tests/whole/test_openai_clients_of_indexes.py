"""Clients of OpenAI's audio API as the indexes of PyPI and npm have them, unmodified, in pinned versions.

Each is installed in a temporary folder and runs in its own process. LangChain cuts recordings with ffmpeg, which must
be on the machine.
"""

import json
import os
from pathlib import Path

import pytest

from tests import clients
from tests.clients import Node
from tests.conftest import AUDIO, text_of
from tests.product import Product

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(900)]
FILE = AUDIO / "sentence-slt.wav"
SAID = text_of(FILE.name).lower()

LITELLM = """
import sys, litellm
base, key, recording = sys.argv[1:]
with open(recording, "rb") as file:
    found = litellm.transcription(model="openai/whisper-1", file=file, api_base=base, api_key=key)
assert isinstance(found.duration, float), found.duration
print(found.text)
"""
LLAMA_INDEX = """
import sys, pathlib
from llama_index.readers.whisper import WhisperReader
base, key, recording = sys.argv[1:]
print(WhisperReader(model="whisper-1", api_key=key).load_data(pathlib.Path(recording))[0].text)
"""
LANGCHAIN = """
import sys
from langchain_community.document_loaders.parsers.audio import OpenAIWhisperParser
from langchain_core.documents.base import Blob
base, key, recording = sys.argv[1:]
parser = OpenAIWhisperParser(api_key=key, base_url=base)
print(" ".join(document.page_content for document in parser.lazy_parse(Blob.from_path(recording))))
"""
# It puts `/openai` before every address. `url` in place of a file is refused for this machine, with its name.
GROQ = """
import sys, groq
base, key, recording = sys.argv[1:]
client = groq.Groq(api_key=key, base_url=base.removesuffix("/v1"))
assert "whisper-1" in [model.id for model in client.models.list().data]
with open(recording, "rb") as file:
    verbose = client.audio.transcriptions.create(
        model="whisper-large-v3-turbo", file=file, response_format="verbose_json", timestamp_granularities=["word"]
    )
assert verbose.x_groq["id"] and verbose.words and isinstance(verbose.duration, float), verbose
try:
    client.audio.transcriptions.create(model="whisper-large-v3", url="http://127.0.0.1/a.mp3")
except groq.BadRequestError as error:
    assert error.body["error"]["param"] == "url", error.body
print(verbose.text)
"""
MISTRAL = """
import sys
from mistralai.client import Mistral
base, key, recording = sys.argv[1:]
with Mistral(api_key=key, server_url=base.removesuffix("/v1")) as client:
    file = {"file_name": "a.wav", "content": open(recording, "rb")}
    found = client.audio.transcriptions.complete(
        model="whisper-1", file=file, timestamp_granularities=["segment"], context_bias=["Ann"], diarize=True
    )
    print(found.text)
"""
PYTHON_CLIENTS = {
    "litellm": (["litellm==1.110.2"], LITELLM),
    "llama-index": (["llama-index-readers-whisper==0.5.0"], LLAMA_INDEX),
    "groq": (["groq==1.7.0"], GROQ),
    "mistral": (["mistralai==3.7.0"], MISTRAL),
    "langchain": (["langchain-community==0.4.2", "openai==3.57.0", "pydub==0.25.1"], LANGCHAIN),
}
NODE_TEXTS = ("stream_of_file", "text", "deltas", "done", "groq", "ai_groq")
NODE_PACKAGES = ["openai@7.59.0", "ai@7.0.173", "@ai-sdk/openai@4.0.118", "@ai-sdk/groq@4.0.84", "groq-sdk@1.6.0"]
NODE = """
import fs from 'node:fs';
import OpenAI, { toFile } from 'openai';
import { transcribe } from 'ai';
import { createGroq } from '@ai-sdk/groq';
import { createOpenAI } from '@ai-sdk/openai';
import Groq from 'groq-sdk';
const [base, key, recording] = process.argv.slice(2);
const shown = {};
const client = new OpenAI({ baseURL: base, apiKey: key });
const { transcriptions } = client.audio;
// Sent in chunks, without Content-Length.
const file = () => fs.createReadStream(recording);
shown.stream_of_file = (await transcriptions.create({ file: file(), model: 'whisper-1' })).text;
shown.verbose = await transcriptions.create({
  file: await toFile(fs.readFileSync(recording), 'a.wav'), model: 'whisper-1',
  response_format: 'verbose_json', timestamp_granularities: ['word'],
});
shown.text = await transcriptions.create({ file: file(), model: 'whisper-1', response_format: 'text' });
shown.deltas = '';
for await (const event of await transcriptions.create({ file: file(), model: 'gpt-4o-transcribe', stream: true })) {
  if (event.type === 'transcript.text.delta') shown.deltas += event.delta;
  if (event.type === 'transcript.text.done') shown.done = event.text;
}
try {
  await transcriptions.create({ file: file(), model: 'gpt-9' });
} catch (error) {
  shown.error = [error.status, error.param];
}
const groq = new Groq({ apiKey: key, baseURL: base.replace(/\\/v1$/, '') });
shown.groq = (await groq.audio.transcriptions.create({ file: file(), model: 'whisper-large-v3' })).text;
const groqModel = createGroq({ baseURL: base, apiKey: key }).transcription('whisper-large-v3-turbo');
shown.ai_groq = (await transcribe({ model: groqModel, audio: fs.readFileSync(recording) })).text;
const openai = createOpenAI({ baseURL: base, apiKey: key });
shown.ai = {};
for (const model of ['whisper-1', 'gpt-4o-transcribe', 'gpt-4o-transcribe-diarize']) {
  const { text, language, durationInSeconds, segments } = await transcribe({
    model: openai.transcription(model), audio: fs.readFileSync(recording),
  });
  shown.ai[model] = { text, language, durationInSeconds, segments: segments.length };
}
console.log(JSON.stringify(shown));
"""


@pytest.fixture(scope="module")
def key(site: Product) -> str:
    return site.new_key(owner="indexes@example.com")


@pytest.mark.parametrize("name", PYTHON_CLIENTS)
def test_python_client(site: Product, key: str, tmp_path: Path, name: str) -> None:
    packages, program = PYTHON_CLIENTS[name]
    python = clients.python_with(tmp_path, *packages)
    base = f"{site.address}/v1"
    # Some of them take the address from the environment only, and LiteLLM would ask the internet for prices.
    environment = {**os.environ, "OPENAI_BASE_URL": base, "OPENAI_API_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    printed = clients.ran([python, "-W", "ignore", "-c", program, base, key, FILE], env=environment)
    heard = set(printed.splitlines()[-1].lower().split())
    # LangChain sends an MP3 of the recording, in which the engine hears one word otherwise.
    assert len(heard & set(SAID.split())) >= len(set(SAID.split())) - 1


def test_node_clients(site: Product, key: str, node: Node, tmp_path: Path) -> None:
    """OpenAI's own package, Groq's, and the AI SDK, whose schemas refuse an answer for one wrong field."""
    node.install(tmp_path, *NODE_PACKAGES)
    shown = json.loads(node.run(tmp_path, NODE, f"{site.address}/v1", key, FILE).splitlines()[-1])
    assert {shown[name].lower() for name in NODE_TEXTS} == {SAID}
    assert [word["word"].lower() for word in shown["verbose"]["words"]] == SAID.split()
    assert "segments" not in shown["verbose"]
    assert shown["error"] == [400, "model"]
    for model, segments in (("whisper-1", 1), ("gpt-4o-transcribe", 0), ("gpt-4o-transcribe-diarize", 1)):
        found = shown["ai"][model]
        assert found["text"].lower() == SAID
        assert found["segments"] == segments
        assert found["durationInSeconds"] > 1
    assert shown["ai"]["whisper-1"]["language"] == "en"
