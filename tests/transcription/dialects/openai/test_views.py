"""OpenAI's audio API over HTTP, with the fake engine. Real clients are in tests/whole/test_openai_clients.py."""

import base64
import json
import threading
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from accounts.gate import concurrency
from billing.models import Entry, EntryKind
from tests.conftest import AUDIO
from tests.dialects.faces import working
from tests.transcription import remote
from transcription.dialects import waiting
from transcription.dialects.openai import views, wire
from transcription.models import Job
from transcription.speech.errors import EngineFailed

pytestmark = pytest.mark.django_db(transaction=True)
CONTENT = (AUDIO / "sentence-slt.wav").read_bytes()
TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"


@pytest.fixture
def ask(key, fake_engine):
    """Return a caller whose work is done at once. Its engine says "Hello there Ann"."""
    fake_engine.say("Hello there Ann")

    def post(path=TRANSCRIPTIONS, *, headers=None, content_type=None, body=None, **fields):
        body = {"model": "whisper-1", "file": SimpleUploadedFile("a.wav", CONTENT), **fields} if body is None else body
        kind = {"content_type": content_type} if content_type else {}
        client = Client(raise_request_exception=False)
        with working():
            return client.post(path, body, headers={"Authorization": f"Bearer {key}", **(headers or {})}, **kind)

    return post


def parts(*each):
    """Return a multipart body of raw parts, each (headers, content)."""
    return (
        b"".join(b"--x\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in each) + b"--x--\r\n"
    )


MULTIPART, FORM = "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"
MODEL = ('Content-Disposition: form-data; name="model"', b"whisper-1")


def events(response):
    blocks = [block for block in response.content.decode().split("\n\n") if block and not block.startswith(":")]
    return [json.loads(block.splitlines()[1].removeprefix("data: ")) for block in blocks]


def test_json_is_the_default(ask):
    response = ask()
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response.json()["text"] == "Hello there Ann"
    job = Job.objects.get()
    assert (job.dialect, job.model, job.recognising_model, job.priority) == (
        "openai",
        "whisper-1",
        "standard",
        "interactive",
    )


@pytest.mark.parametrize(
    ("response_format", "content_type", "beginning"),
    [
        ("text", "text/plain; charset=utf-8", "Hello there Ann"),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:00,"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n"),
    ],
)
def test_text_and_subtitles_are_text(ask, response_format, content_type, beginning):
    response = ask(response_format=response_format)
    assert response["Content-Type"] == content_type
    assert response.content.decode().startswith(beginning)


def test_charge_is_the_price_of_the_name(ask):
    ask(model="gpt-transcribe")
    job = Job.objects.get()
    # 270,000 micro-dollars an hour for each started second.
    seconds = -(-job.duration_ms // 1000)
    assert (
        job.cost_micros == -Entry.objects.get(kind=EntryKind.USAGE).amount_micros == (270_000 * seconds + 1800) // 3600
    )


@pytest.mark.long
@pytest.mark.parametrize("response_format", wire.FORMATS)
def test_stream(ask, response_format):
    response = ask(stream="true", response_format=response_format)
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"
    *others, done = events(response)
    deltas = [event["delta"] for event in others if event["type"] == "transcript.text.delta"]
    assert "".join(deltas) == done["text"] == "Hello there Ann"
    assert ("transcript.text.segment" in {event["type"] for event in others}) is (response_format == "diarized_json")
    assert done["segments"][0]["text"] == "Hello there Ann"
    assert response.content.endswith(b"\n\n")
    assert b"[DONE]" not in response.content
    # Whatever is no event is a comment: a bare ping breaks OpenAI's packages.
    for block in response.content.removesuffix(b"\n\n").split(b"\n\n"):
        lines = [line.partition(b":")[0] for line in block.splitlines()]
        assert lines in ([b""], [b"event", b"data"])


def test_failure_in_a_stream_is_an_error_event(ask, fake_engine, settings):
    settings.JOB_ATTEMPTS = 1
    fake_engine.fail(EngineFailed())
    (event,) = events(ask(stream="true"))
    assert event["error"]["type"] == "engine_failed"
    assert "Nothing was charged" in event["error"]["message"]
    assert not Entry.objects.filter(kind=EntryKind.USAGE).exists()


def test_options_may_stand_after_the_file(ask):
    head = 'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/x-wav'
    body = parts((head, CONTENT), MODEL, ('Content-Disposition: form-data; name="response_format"', b"text"))
    assert ask(body=body, content_type=MULTIPART).content == b"Hello there Ann"


@pytest.mark.long
@pytest.mark.parametrize(
    "head",
    [
        'Content-Disposition: form-data; name="file"; filename="upload"',
        'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: video/webm',
        'Content-Disposition: form-data; name="file"; filename="@audio.m4a"\r\nContent-Type: application/octet-stream',
        'Content-Disposition: form-data; name="file"; filename="x"\r\nContent-Type: multipart/form-data',
        'Content-Disposition: form-data; name="sound"; filename="Üben \u4f60.wav"',
        'Content-Disposition: form-data; name="audio_file"; filename="a.wav"',
    ],
)
def test_name_and_type_of_the_file_mean_nothing(ask, head):
    response = ask(body=parts(MODEL, (head, CONTENT)), content_type=MULTIPART)
    assert response.json()["text"] == "Hello there Ann"


def test_of_two_files_the_one_called_file_counts(ask):
    other = ('Content-Disposition: form-data; name="audio_file"; filename="a.wav"', b"no audio")
    file = ('Content-Disposition: form-data; name="file"; filename="a.wav"', CONTENT)
    assert ask(body=parts(other, MODEL, file), content_type=MULTIPART).status_code == 200


def test_json_body_with_the_recording_in_it(ask):
    body = {"model": "whisper-1", "input_audio": {"data": base64.b64encode(CONTENT).decode(), "format": "wav"}}
    shown = ask(body=json.dumps(body), content_type="application/json").json()
    job = Job.objects.get()
    assert shown["text"] == "Hello there Ann"
    assert shown["usage"]["cost"] == job.cost_micros / 1_000_000 > 0
    assert shown["usage"]["seconds"] == job.duration_ms / 1000


@pytest.mark.parametrize(
    ("content_type", "body", "param"),
    [
        ("application/json", '{"model": "whisper-1"}', "input_audio"),
        (MULTIPART, parts(MODEL), "file"),
        (MULTIPART, parts(MODEL, ('Content-Disposition: form-data; name="url"', b" ")), "file"),
        (FORM, "model=whisper-1", "file"),
    ],
)
def test_request_without_a_recording_says_what_is_missing(ask, content_type, body, param):
    response = ask(body=body, content_type=content_type)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert response["x-should-retry"] == "false"


@pytest.fixture
def server(settings):
    with remote.running(CONTENT) as running:
        settings.ALLOWED_PRIVATE_ADDRESSES = [running.socket]
        yield running


@pytest.mark.long
@pytest.mark.enable_socket
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["url", "file_url"])
def test_json_body_with_the_address_of_a_recording(ask, server, stream, name):
    body = json.dumps({"model": "whisper-1", name: server.url("/talk.mp3"), "stream": stream})
    response = ask(body=body, content_type="application/json")
    assert (events(response)[-1] if stream else response.json())["text"] == "Hello there Ann"
    assert Job.objects.get().cost_micros == -Entry.objects.get(kind=EntryKind.USAGE).amount_micros


@pytest.mark.enable_socket
def test_recording_that_comes_along_with_an_address_counts(ask, server):
    assert ask(url=server.url("/talk.mp3")).json()["text"] == "Hello there Ann"
    assert server.asked == []


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("path", "status", "error_type"),
    [("/status?code=404", 400, "url_not_found"), ("/huge", 413, "url_too_large")],
)
def test_file_that_cannot_be_had_costs_nothing(ask, server, path, status, error_type):
    response = ask(body=urlencode({"model": "whisper-1", "url": server.url(path)}), content_type=FORM)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (status, error_type, "url")
    assert response["x-should-retry"] == "false"
    assert not Entry.objects.filter(kind=EntryKind.USAGE).exists()


@pytest.mark.parametrize("url", ["http://169.254.169.254/a.mp3", "http://127.0.0.1/a.mp3", "file:///etc/passwd", "x"])
def test_address_that_may_not_be_called_is_refused_at_once(ask, url):
    response = ask(body=urlencode({"model": "whisper-1", "url": url}), content_type=FORM)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "url")
    assert not Job.objects.exists()


@pytest.mark.parametrize("body", ["[]", "7", "{", '"x"', "[" * 20_000, '{"a":' * 20_000])
def test_broken_json_is_refused(ask, body):
    response = ask(body=body, content_type="application/json")
    assert response.status_code == 400
    assert isinstance(response.json()["error"]["message"], str)


def test_body_is_not_parsed_for_an_organization_with_its_limit_of_open_calls(ask, organization, settings):
    settings.MAX_WAITING_CALLS = 1
    other = concurrency.ConcurrencySlot()
    other.acquire((waiting.SLOTS, organization.pk), limit=1)
    try:
        assert ask(body="{", content_type="application/json").status_code == 429
    finally:
        other.release()
    assert ask(body="{", content_type="application/json").status_code == 400


def test_json_bodies_are_parsed_in_turns(ask):
    """Each takes several times its size in memory. A broken one is refused at once when its turn comes."""
    statuses = []

    def send():
        statuses.append(ask(body="{", content_type="application/json").status_code)
        connection.close()

    caller = threading.Thread(target=send)
    with views.JSON_BODIES, views.JSON_BODIES:
        caller.start()
        caller.join(1)
        assert not statuses
    caller.join(60)
    assert statuses == [400]


def test_empty_recording_is_refused_without_a_charge(ask):
    """Deepgram's and other clients send nothing when they try again with a generator that is used up."""
    response = ask(file=SimpleUploadedFile("a.wav", b""))
    assert (response.status_code, response.json()["error"]["type"]) == (400, "empty_audio")
    assert not Job.objects.exists()


def test_file_of_25_mib_is_taken_and_one_byte_more_is_not(ask):
    """The file part alone counts, not the form around it. What is refused for its sound was taken for its size."""
    most = ask(file=SimpleUploadedFile("a.wav", bytes(wire.MAX_FILE_BYTES)))
    assert most.json()["error"]["type"] == "not_audio"
    more = ask(file=SimpleUploadedFile("a.wav", bytes(wire.MAX_FILE_BYTES + 1)))
    assert (more.status_code, more.json()["error"]["type"]) == (413, "body_too_large")


def test_probe_with_head_is_answered_without_a_body(key):
    response = Client().head(TRANSCRIPTIONS, headers={"Authorization": f"Bearer {key}"})
    assert (response.status_code, response.content) == (405, b"")
    assert "POST" in response["Allow"]


def test_unknown_model_is_a_bad_request(ask):
    response = ask(model="gpt-9")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"
    assert not Job.objects.exists()


def test_unknown_fields_and_parameters_are_ignored(ask):
    response = ask(f"{TRANSCRIPTIONS}?task=transcribe&encode=true&output=txt", vad_filter="true", n_threads="4")
    assert response.status_code == 200


def test_diarized(ask):
    shown = ask(model="gpt-4o-transcribe-diarize", response_format="diarized_json").json()
    assert shown["segments"][0]["speaker"] == "A"
    assert shown["segments"][0]["id"] == "seg_0"
    assert Job.objects.get().options["diarize"] is True


def test_translation_with_a_model_that_cannot(ask):
    response = ask(TRANSLATIONS)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"


def test_retry_of_the_sdk_gets_the_first_answer(ask):
    first = ask(headers={"x-stainless-retry-count": "0"})
    second = ask(headers={"x-stainless-retry-count": "1"})
    assert first.json() == second.json()
    assert second["Idempotency-Replayed"] == "true"
    other = ask(headers={"x-stainless-retry-count": "1"}, response_format="verbose_json")
    assert "Idempotency-Replayed" not in other
    assert Job.objects.count() == 2


def test_stream_that_is_repeated_gives_the_text_again(ask):
    first, second = (events(ask(headers={"Idempotency-Key": "k"}, stream="true")) for _ in range(2))
    assert first[-1] == second[-1]
    assert "".join(event["delta"] for event in second[:-1]) == "Hello there Ann"
    assert Job.objects.count() == 1


def test_models_lists_names_that_programs_look_for(key):
    """Speakr and others keep only ids with one of these words in them."""
    listed = Client().get("/v1/models", headers={"Authorization": f"Bearer {key}"}).json()
    found = [model["id"] for model in listed["data"] if "whisper" in model["id"] or "transcribe" in model["id"]]
    assert {"whisper-1", "gpt-4o-transcribe", "gpt-4o-transcribe-diarize", "vtrix-gpt-4o-transcribe"} <= set(found)
