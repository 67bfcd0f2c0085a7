"""What /docs/ says to customers of other services: what to change, what differs, and code to copy. Pure.

The code runs as it stands, once its key is a real one: tests/whole/test_guides.py runs it against the product.
"""

from dataclasses import dataclass

SITE = "SITE_URL"
KEY = "YOUR_API_KEY"


@dataclass(frozen=True, slots=True)
class Guide:
    """One service that a customer may come from.

    address: method and path here. changes: (what, there, here). differences: sentences, code between backticks.
    examples: (language, code), in which SITE and KEY stand for the address of the site and the key.
    """

    slug: str
    origin: str
    address: str
    lead: str
    changes: tuple[tuple[str, str, str], ...]
    differences: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]

    @property
    def marked_differences(self) -> list[list[tuple[str, bool]]]:
        """Return each difference as pieces of text, with whether a piece is code. Code stands between backticks."""
        return [
            [(piece, bool(at % 2)) for at, piece in enumerate(difference.split("`")) if piece]
            for difference in self.differences
        ]

    @property
    def method(self) -> str:
        return self.address.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.address.partition(" ")[2]

    def shown_for(self, *, site_url: str, key: str) -> "Guide":
        """Return the guide with the address of the site, and with the reader's key in its code."""

        def fill(text: str) -> str:
            return text.replace(SITE, site_url).replace(KEY, key)

        return Guide(
            slug=self.slug,
            origin=self.origin,
            address=self.address,
            lead=self.lead,
            changes=tuple((what, there, fill(here)) for what, there, here in self.changes),
            differences=self.differences,
            examples=tuple((language, fill(code)) for language, code in self.examples),
        )


VOXNEXUS = Guide(
    slug="voxnexus",
    origin="VoxNexus",
    address="POST /v1/stt",
    lead="The recording is the request body, the options are the query, and the response has the transcript.",
    changes=(
        ("Base URL", "https://api.voxnexus.ai", SITE),
        ("Key", "X-Api-Key: your VoxNexus key", "X-Api-Key: your Voxsite key"),
    ),
    differences=(
        "Without `language`, the language is detected. VoxNexus states en-US as the default.",
        "`enable_llm_transform` needs no whitelist. Its tokens are charged like Chat.",
        "`llm_model_id` is a model of `GET /v1/apex/models`. Any other name means the default, and `warnings` says so.",
        "`warnings` is new: it lists what had no effect, such as a rewriting that failed.",
        "Each entry of `speakers` is one turn, in the order of the conversation.",
        "Unknown parameters are refused with 400.",
    ),
    examples=(
        (
            "curl",
            """curl -X POST \\
  "SITE_URL/v1/stt?model_id=vn-stt-basic&sample_rate=16000&enable_timestamps=true" \\
  -H "X-Api-Key: YOUR_API_KEY" \\
  -H "Content-Type: audio/mpeg" \\
  --data-binary @recording.mp3""",
        ),
        (
            "Python",
            """import requests

with open("recording.mp3", "rb") as file:
    answer = requests.post(
        "SITE_URL/v1/stt",
        headers={"X-Api-Key": "YOUR_API_KEY", "Content-Type": "audio/mpeg"},
        params={"model_id": "vn-stt-basic", "sample_rate": 16000, "enable_timestamps": "true"},
        data=file,
    )
answer.raise_for_status()
print(answer.json()["text"])""",
        ),
        (
            "Node",
            """import { openAsBlob } from "node:fs";

const query = new URLSearchParams({ model_id: "vn-stt-basic", sample_rate: 16000, enable_timestamps: true });
const answer = await fetch(`SITE_URL/v1/stt?${query}`, {
  method: "POST",
  headers: { "X-Api-Key": "YOUR_API_KEY", "Content-Type": "audio/mpeg" },
  body: await openAsBlob("recording.mp3"),
});
const { text, words } = await answer.json();
console.log(text, words.length);""",
        ),
    ),
)

OPENAI = Guide(
    slug="openai",
    origin="OpenAI",
    address="POST /v1/audio/transcriptions",
    lead="OpenAI's packages, and programs that use them, work with another base URL and key.",
    changes=(
        ("Base URL", "https://api.openai.com/v1", f"{SITE}/v1"),
        ("Key", "OPENAI_API_KEY=sk-...", f"OPENAI_API_KEY={KEY}"),
        ("Model", "whisper-1, gpt-4o-transcribe, ...", "The same names, or standard or premium"),
    ),
    differences=(
        "The names of OpenAI's models all run Whisper, and differ in price only. `GET /v1/models` lists them.",
        "Speaker labels come with `response_format=diarized_json`, from every model.",
        "Without speech, `text` is empty and nothing fails.",
        "`usage` has the seconds of the recording instead of tokens. You pay per second.",
        "`known_speaker_names[]` and `known_speaker_references[]` are refused with 400.",
        "Files may have 25 MiB, as at OpenAI. Larger ones go to `POST /v1/transcribe`, up to 2 GiB.",
    ),
    examples=(
        (
            "curl",
            """curl SITE_URL/v1/audio/transcriptions \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -F "file=@recording.mp3" \\
  -F "model=whisper-1\"""",
        ),
        (
            "Python",
            """# pip install openai
from openai import OpenAI

client = OpenAI(base_url="SITE_URL/v1", api_key="YOUR_API_KEY")
with open("recording.mp3", "rb") as file:
    answer = client.audio.transcriptions.create(model="whisper-1", file=file)
print(answer.text)""",
        ),
        (
            "Node",
            """import { openAsBlob } from "node:fs";

const body = new FormData();
body.append("file", await openAsBlob("recording.mp3"), "recording.mp3");
body.append("model", "whisper-1");
const answer = await fetch("SITE_URL/v1/audio/transcriptions", {
  method: "POST",
  headers: { Authorization: "Bearer YOUR_API_KEY" },
  body,
});
console.log((await answer.json()).text);""",
        ),
    ),
)

VOXSCRIBER = Guide(
    slug="voxscriber",
    origin="VoxScriber",
    address="POST /v1/upload",
    lead="Upload a file, order its transcription by file_id, and poll its status until the transcript is there.",
    changes=(
        ("Base URL", "https://api.voxscriber.com", SITE),
        ("Key", "Authorization: Bearer your VoxScriber key", "Authorization: Bearer your Voxsite key"),
    ),
    differences=(
        "A file can be used for 24 hours after its upload.",
        "Webhooks and recordings from a URL are not available yet.",
        "Speakers are labeled unless you send `diarize=false`.",
        "`GET /v1/jobs/JOB_ID/result` has word times, speakers and subtitles.",
        "`retention=delete_after_retrieval` deletes the recording and its transcript an hour after you first read it.",
    ),
    examples=(
        (
            "curl",
            """FILE_ID=$(curl -s SITE_URL/v1/upload \\
  -H "X-API-Key: YOUR_API_KEY" \\
  -F "file=@recording.mp3" | grep -o '"file_id": *"[^"]*"' | cut -d'"' -f4)

curl SITE_URL/v1/transcribe \\
  -H "X-API-Key: YOUR_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d "{\\"file_id\\": \\"$FILE_ID\\"}\"""",
        ),
        (
            "Python",
            """import time
import requests

BASE = "SITE_URL"
headers = {"X-API-Key": "YOUR_API_KEY"}

with open("recording.mp3", "rb") as file:
    file_id = requests.post(f"{BASE}/v1/upload", headers=headers, files={"file": file}).json()["file_id"]
job_id = requests.post(f"{BASE}/v1/transcribe", headers=headers, json={"file_id": file_id}).json()["job_id"]

while True:
    job = requests.get(f"{BASE}/v1/status/{job_id}", headers=headers).json()
    if job["status"] not in ("queued", "processing"):
        break
    time.sleep(2)
print(job["transcript"])""",
        ),
        (
            "Node",
            """import { openAsBlob } from "node:fs";

const base = "SITE_URL";
const headers = { "X-API-Key": "YOUR_API_KEY" };

const body = new FormData();
body.append("file", await openAsBlob("recording.mp3"), "recording.mp3");
const { file_id } = await (await fetch(`${base}/v1/upload`, { method: "POST", headers, body })).json();
const { job_id } = await (await fetch(`${base}/v1/transcribe`, {
  method: "POST",
  headers: { ...headers, "Content-Type": "application/json" },
  body: JSON.stringify({ file_id }),
})).json();

let job;
do {
  await new Promise((resolve) => setTimeout(resolve, 2000));
  job = await (await fetch(`${base}/v1/status/${job_id}`, { headers })).json();
} while (["queued", "processing"].includes(job.status));
console.log(job.transcript);""",
        ),
    ),
)

DEEPGRAM = Guide(
    slug="deepgram",
    origin="Deepgram",
    address="POST /v1/listen",
    lead="Deepgram's packages, and programs that call its API for recordings, work with another address and key.",
    changes=(
        ("Address", "https://api.deepgram.com", SITE),
        ("Key", "Authorization: Token your Deepgram key", "Authorization: Token your Voxsite key"),
        ("Model", "nova-3, nova-2-meeting, whisper-large, ...", "The same names, or standard or premium"),
    ),
    differences=(
        "Deepgram's models run as `standard`, at its price. `metadata.model_info` says what ran.",
        "Without `language`, the language is detected. Deepgram takes English.",
        "A parameter that has no effect here is named in `metadata.warnings`.",
        "`redact` and `callback` are refused with 400.",
        "Recordings from a URL are not available yet and answered with 501. Send the recording itself.",
        "Each channel of `multichannel` is billed as a separate recording.",
        "Live audio is not available.",
    ),
    examples=(
        (
            "curl",
            """curl -X POST \\
  "SITE_URL/v1/listen?model=nova-3&smart_format=true" \\
  -H "Authorization: Token YOUR_API_KEY" \\
  -H "Content-Type: audio/mpeg" \\
  --data-binary @recording.mp3""",
        ),
        (
            "Python",
            """# pip install deepgram-sdk
from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment

address = "SITE_URL"
client = DeepgramClient(
    api_key="YOUR_API_KEY",
    environment=DeepgramClientEnvironment(
        base=address, production=address, agent=address, agent_rest=address
    ),
)
with open("recording.mp3", "rb") as file:
    answer = client.listen.v1.media.transcribe_file(
        request=file.read(), model="nova-3", smart_format=True, diarize=True
    )
print(answer.results.channels[0].alternatives[0].paragraphs.transcript)""",
        ),
        (
            "Node",
            """import { readFile } from "node:fs/promises";

const response = await fetch("SITE_URL/v1/listen?model=nova-3&smart_format=true", {
  method: "POST",
  headers: { Authorization: "Token YOUR_API_KEY", "Content-Type": "audio/mpeg" },
  body: await readFile("recording.mp3"),
});
const answer = await response.json();
console.log(answer.results.channels[0].alternatives[0].transcript);""",
        ),
    ),
)

WHISPER_ASR = Guide(
    slug="whisper-asr",
    origin="whisper-asr-webservice",
    address="POST /asr",
    lead="Bazarr, Speakr and other programs that use whisper-asr-webservice work with this site's address and a key.",
    changes=(
        ("Address", "http://localhost:9000", SITE),
        ("Key", "None", "X-API-Key, Authorization: Bearer, or a part of the address: https://user:KEY@host"),
    ),
    differences=(
        "A program without a field for a key takes it in its address, as Bazarr does in the Whisper ASR endpoint.",
        "Subtitles are broken into lines that can be read.",
        "`POST /detect-language` hears the first speech, not the first half minute. It costs 30 seconds at most.",
        "Sound without a header (`encode=false`) may last 10 hours. Set the program's time limit so that it waits.",
        "A wrong value is answered with 400 instead of 422.",
    ),
    examples=(
        (
            "curl",
            """curl "SITE_URL/asr?output=srt" \\
  -H "X-API-Key: YOUR_API_KEY" \\
  -F "audio_file=@recording.mp3\"""",
        ),
        (
            "Python",
            """import requests

with open("recording.mp3", "rb") as file:
    response = requests.post("SITE_URL/asr",
                             headers={"X-API-Key": "YOUR_API_KEY"},
                             params={"output": "json", "diarize": "true"},
                             files={"audio_file": file})
response.raise_for_status()
for segment in response.json()["segments"]:
    print(segment["start"], segment.get("speaker"), segment["text"])""",
        ),
        (
            "Node",
            """import { openAsBlob } from "node:fs";

const body = new FormData();
body.append("audio_file", await openAsBlob("recording.mp3"), "recording.mp3");
const response = await fetch("SITE_URL/asr?output=srt", {
  method: "POST",
  headers: { "X-API-Key": "YOUR_API_KEY" },
  body,
});
console.log(await response.text());""",
        ),
    ),
)

GUIDES = (OPENAI, DEEPGRAM, VOXNEXUS, VOXSCRIBER, WHISPER_ASR)


def named(slug: str) -> Guide | None:
    """Return the guide of this name, None if there is none."""
    return next((one for one in GUIDES if one.slug == slug), None)
