"""Programs that speak to OpenAI's audio API: each sends what the real one does, and gets what the real one needs.

What they send was recorded from them or read in their source, 2026-11-28. The real packages of OpenAI, the AI SDK,
LiteLLM, LangChain and LlamaIndex are in tests/whole.
"""

import base64
import json
from urllib.parse import urlencode

import pytest
from django.test import Client

from tests.conftest import AUDIO
from tests.dialects.faces import working
from tests.transcription import remote
from transcription.models import Job

pytestmark = pytest.mark.django_db(transaction=True)
CONTENT = (AUDIO / "sentence-slt.wav").read_bytes()
SAID = "Hello there Ann"
BASE = "/v1"


@pytest.fixture
def send(key, fake_engine):
    """Return a sender of forms, part by part in the given order; the file is ("file", (name, type))."""
    fake_engine.say(SAID)

    def post(path, *parts, query="", content=CONTENT, **headers):
        body = b""
        for name, value in parts:
            body += f'--x\r\nContent-Disposition: form-data; name="{name}"'.encode()
            if isinstance(value, tuple):
                file_name, kind = value
                body += f'; filename="{file_name}"\r\n'.encode()
                body += (f"Content-Type: {kind}\r\n" if kind else "").encode() + b"\r\n" + content
            else:
                body += b"\r\n\r\n" + value.encode()
            body += b"\r\n"
        return post_body(path + query, body + b"--x--\r\n", "multipart/form-data; boundary=x", **headers)

    def post_body(path, body, content_type, **headers):
        headers = {"Authorization": f"Bearer {key}", **headers}
        with working():
            return Client().post(BASE + path, body, content_type=content_type, headers=headers)

    post.body = post_body
    return post


def events(response):
    """Return the events as (line of the type, data). Comments and blank lines are no events."""
    found = []
    for block in response.content.decode().split("\n\n"):
        if block and not block.startswith(":"):
            kind, data = block.splitlines()
            found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


TRANSCRIPTIONS, TRANSLATIONS = "/audio/transcriptions", "/audio/translations"
AI_SDK_SEGMENT = {
    "id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob",
}  # fmt: skip


def test_ai_sdk_with_a_provider_option(send):
    """The file stands before the options; the whole answer is refused for one field that is no number."""
    shown = send(
        TRANSCRIPTIONS,
        ("model", "whisper-1"),
        ("file", ("audio.wav", "audio/wav")),
        ("language", "en"),
        ("temperature", "0"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "segment"),
        Accept="*/*",
    ).json()
    assert shown["text"] == SAID
    assert (shown["language"], type(shown["duration"])) == ("english", float)
    (segment,) = shown["segments"]
    assert set(segment) >= AI_SDK_SEGMENT
    assert all(type(segment[name]) in (int, float) for name in AI_SDK_SEGMENT - {"text", "tokens"})
    assert all(type(token) is int for token in segment["tokens"])


def test_ai_sdk_for_groq(send):
    """It refuses an answer without x_groq."""
    shown = send(TRANSCRIPTIONS, ("model", "whisper-large-v3-turbo"), ("file", ("audio.wav", "audio/wav"))).json()
    assert shown["text"] == SAID
    assert isinstance(shown["x_groq"]["id"], str)


@pytest.fixture
def server(settings):
    with remote.running(CONTENT) as running:
        settings.ALLOWED_PRIVATE_ADDRESSES = [running.socket]
        yield running


@pytest.mark.enable_socket
def test_groq_with_an_address_in_place_of_a_file(send, server):
    """A form of text fields alone."""
    shown = send(TRANSCRIPTIONS, ("model", "whisper-large-v3"), ("url", server.url("/talk.mp3"))).json()
    assert (shown["text"], isinstance(shown["x_groq"]["id"], str)) == (SAID, True)


@pytest.mark.enable_socket
def test_mistral_with_an_address_in_place_of_a_file(send, server):
    """A form as a page sends it."""
    body = urlencode({"model": "whisper-1", "file_url": server.url("/talk.mp3"), "stream": "false", "diarize": "false"})
    shown = send.body(TRANSCRIPTIONS, body, "application/x-www-form-urlencoded").json()
    assert (shown["text"], shown["model"]) == (SAID, "whisper-1")
    assert Job.objects.get().priority == "interactive"


def test_mistral(send):
    """Its arrays have no brackets; its answer needs model, usage, language and text."""
    shown = send(
        TRANSCRIPTIONS,
        ("model", "whisper-1"),
        ("stream", "false"),
        ("diarize", "false"),
        ("timestamp_granularities", "segment"),
        ("context_bias", "Ann"),
        ("file", ("a.wav", "audio/x-wav")),
    ).json()
    assert {"model", "usage", "language", "text"} <= set(shown)


def test_open_webui(send):
    """The part has no type. After any answer but 200 it sends all again without the language."""
    assert send(TRANSCRIPTIONS, ("model", "whisper-1"), ("file", ("a.wav", ""))).json()["text"] == SAID
    refused = send(TRANSCRIPTIONS, ("model", "whisper-1"), ("language", "xx"), ("file", ("a.wav", "")))
    assert refused.status_code == 400
    assert "xx" in refused.json()["error"]["message"]


def test_open_webui_with_json(send):
    body = {"model": "whisper-1", "language": "en", "input_audio": {"data": encoded(), "format": "wav"}}
    assert send.body(TRANSCRIPTIONS, json.dumps(body), "application/json").json()["text"] == SAID


def encoded():
    return base64.b64encode(CONTENT).decode()


def test_subtitle_edit(send):
    """It needs segments with numbers as ids."""
    shown = send(
        TRANSCRIPTIONS,
        ("model", "whisper-1"),
        ("language", "en"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "segment"),
        ("timestamp_granularities[]", "word"),
        ("temperature", "0.00"),
        ("prompt", "Names"),
        ("file", ("a.wav", "audio/wav")),
    ).json()
    assert [segment["id"] for segment in shown["segments"]] == [0]
    assert "".join(f" {word['word']}" for word in shown["words"]).strip() == SAID


def test_subtitle_edit_with_a_stream(send):
    """It reads events that have a line of their type, and takes the times from the segments of the last one."""
    response = send(
        TRANSCRIPTIONS,
        ("model", "whisper-1"),
        ("response_format", "json"),
        ("stream", "true"),
        ("file", ("a.wav", "audio/wav")),
    )
    assert response["Content-Type"].startswith("text/event-stream")
    *deltas, (kind, done) = events(response)
    assert "".join(data["delta"] for kind, data in deltas if kind == "transcript.text.delta") == SAID
    assert kind == "transcript.text.done"
    assert done["segments"][0]["end"] > done["segments"][0]["start"]


def test_subtitle_edit_for_openrouter(send):
    body = {
        "model": "whisper-1",
        "input_audio": {"data": encoded(), "format": "wav"},
        "response_format": "verbose_json",
        "timestamp_granularities": ["segment", "word"],
        "language": "en",
        "temperature": 0,
        "prompt": "",
    }
    response = send.body(TRANSCRIPTIONS, json.dumps(body), "application/json", **{"X-Title": "Subtitle Edit"})
    assert {"segments", "words"} <= set(response.json())
    assert response.json()["usage"]["cost"] > 0


def test_librechat(send):
    """Its chunks without Content-Length are tested with the handler (tests/voxsite/test_waiting_handler.py)."""
    response = send(
        TRANSCRIPTIONS, ("file", ("audio.wav", "audio/wav")), ("model", "whisper-1"), ("language", "en"), Accept="*/*"
    )
    assert (response.status_code, response.json()["text"]) == (200, SAID)


def test_n8n(send):
    response = send(
        TRANSCRIPTIONS,
        ("model", "whisper-1"),
        ("language", "en"),
        ("temperature", "0.7"),
        ("file", ("Anruf vom Büro.wav", "audio/wav")),
    )
    assert response.json()["text"] == SAID


def test_home_assistant(send):
    """Its languages are those of its interface, cut at the hyphen: `fil` and `he` occur."""
    for language in ("en", "en-GB"):
        response = send(
            TRANSCRIPTIONS,
            ("model", "gpt-4o-mini-transcribe"),
            ("language", language),
            ("prompt", "The following conversation is a smart home user talking to Home Assistant."),
            ("response_format", "json"),
            ("file", ("a.wav", "audio/x-wav")),
        )
        assert response.json()["text"] == SAID


def test_wyoming_openai(send):
    """The file is called "upload" and has no known type. It adds the deltas up and ignores the end."""
    response = send(
        TRANSCRIPTIONS,
        ("model", "gpt-4o-transcribe"),
        ("response_format", "json"),
        ("stream", "true"),
        ("file", ("upload", "application/octet-stream")),
    )
    assert "".join(data["delta"] for kind, data in events(response) if kind.endswith("delta")) == SAID


def test_obsidian_whisper(send):
    """The file comes first, as the browser recorded it."""
    response = send(
        TRANSCRIPTIONS,
        ("file", ("2026-11-28T10-00-00.webm", "audio/webm;codecs=opus")),
        ("model", "whisper-1"),
        ("language", ""),
        ("prompt", ""),
    )
    assert response.json()["text"] == SAID


def test_buzz(send):
    """With words alone asked for, segments would make it take the site for whisper.cpp."""
    shown = send(
        TRANSCRIPTIONS,
        ("model", "whisper-1"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("prompt", ""),
        ("file", ("a.mp3", "audio/mpeg")),
    ).json()
    assert "segments" not in shown
    assert [word["word"] for word in shown["words"]] == SAID.split()
    assert all(word["end"] < 60 for word in shown["words"])


def test_spring_ai(send):
    """It sends names of speakers with the model that tells speakers apart."""
    diarized = [("model", "gpt-4o-transcribe-diarize"), ("response_format", "diarized_json")]
    file = ("file", ("a.wav", "audio/wav"))
    shown = send(TRANSCRIPTIONS, *diarized, ("chunking_strategy", "auto"), file).json()
    assert shown["segments"][0]["type"] == "transcript.text.segment"
    refused = send(TRANSCRIPTIONS, *diarized, ("known_speaker_names[]", "Ann"), file)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "known_speaker_names")


def test_pipecat(send):
    shown = send(
        TRANSCRIPTIONS,
        ("model", "gpt-4o-transcribe"),
        ("language", "en"),
        ("response_format", "json"),
        ("include[]", "logprobs"),
        ("temperature", "0.0"),
        ("file", ("audio.wav", "audio/wav")),
    ).json()
    assert [each["token"] for each in shown["logprobs"]] == [" Hello", " there", " Ann"]
    assert all(each["logprob"] <= 0 for each in shown["logprobs"])


def test_livekit(send):
    shown = send(
        TRANSCRIPTIONS,
        ("model", "gpt-transcribe"),
        ("languages[]", "en"),
        ("keywords[]", "Ann"),
        ("keywords[]", "LiveKit"),
        ("response_format", "json"),
        ("file", ("file.wav", "audio/wav")),
    ).json()
    assert shown["languages"][0]["code"] == "en"
    assert Job.objects.get().options["hotwords"] == ["Ann", "LiveKit"]


def test_scriberr(send):
    """The file comes first. Its structs have numbers where numbers are."""
    shown = send(
        TRANSCRIPTIONS,
        ("file", ("a.mp3", "application/octet-stream")),
        ("model", "whisper-1"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("language", "en"),
        ("temperature", "0.00"),
    ).json()
    assert type(shown["segments"][0]["id"]) is int
    assert type(shown["duration"]) is float


def test_speakr(send, key):
    """It keeps models with "transcribe" or "whisper" in their name, and sends references of speakers if it has some."""
    models = Client().get(f"{BASE}/models", headers={"Authorization": f"Bearer {key}"}).json()["data"]
    kept = [model["id"] for model in models if "transcribe" in model["id"] or "whisper" in model["id"]]
    assert "gpt-4o-transcribe-diarize" in kept
    shown = send(
        TRANSCRIPTIONS,
        ("model", "gpt-4o-transcribe-diarize"),
        ("response_format", "diarized_json"),
        ("chunking_strategy", "auto"),
        ("file", ("a.mp3", "audio/mpeg")),
    ).json()
    assert set(shown["segments"][0]) >= {"speaker", "text", "start", "end"}


def test_nextcloud(send):
    """Every file is called file.mp3. Its probe with a wrong model takes 404 and 401 for a site without speech."""
    response = send(
        TRANSCRIPTIONS,
        ("model", "whisper-1"),
        ("response_format", "verbose_json"),
        ("file", ("file.mp3", "audio/mpeg")),
    )
    assert response.json()["segments"][-1]["end"] > 0
    subtitles = send(
        TRANSCRIPTIONS, ("model", "whisper-1"), ("response_format", "srt"), ("file", ("file.mp3", "audio/mpeg"))
    )
    assert b"00:00:00," in subtitles.content
    probe = send(TRANSLATIONS, ("model", "invalid-model"), ("file", ("a", "")), content=b"a")
    assert probe.status_code == 400


def test_whisper_to_input(send):
    """It sends the parameters of another service along, and the recording twice."""
    response = send(
        TRANSCRIPTIONS,
        ("audio_file", ("@audio.m4a", "audio/mp4")),
        ("file", ("@audio.m4a", "audio/mp4")),
        ("model", "whisper-1"),
        ("response_format", "text"),
        query="?encode=true&task=transcribe&language=en&word_timestamps=false&output=txt",
    )
    assert response.content.decode() == SAID


def test_langchain_community(send):
    """Pieces of 20 minutes, with everything at its default."""
    response = send(TRANSCRIPTIONS, ("model", "whisper-1"), ("file", ("talk_part_0.mp3", "audio/mpeg")))
    assert response.json()["text"] == SAID


def test_deepgram_s_retry_of_a_generator_that_is_used_up(send):
    refused = send(TRANSCRIPTIONS, ("model", "whisper-1"), ("file", ("a.wav", "audio/wav")), content=b"")
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "empty_audio")
    assert not Job.objects.exists()


def test_elevenlabs_s_retry_that_lost_its_fields(send):
    """Options of an earlier try are never filled in."""
    refused = send(TRANSCRIPTIONS, ("file", ("a.wav", "audio/x-wav")))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
