"""`/v1/listen`: what is read of a request, what it costs, and what comes back."""

import hashlib
import io
import json
import wave
from urllib.parse import urlencode

import pytest
from django.test import Client

from accounts import api_keys
from billing.models import Entry, EntryKind, Wallet
from tests.conftest import AUDIO
from tests.dialects.faces import working
from tests.transcription import remote
from transcription.models import Job, Media

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fake_engine")]

WAV = (AUDIO / "sentence-slt.wav").read_bytes()


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="calls", by=None)[1]


@pytest.fixture
def listen(key):
    """Return a call with a body and a query; a worker does its job meanwhile."""

    def call(query="", content=WAV, *, content_type="application/octet-stream", headers=None):
        with working():
            return Client().post(
                f"/v1/listen?{query}",
                content,
                content_type=content_type,
                headers=headers or {"Authorization": f"Token {key}"},
            )

    return call


def pcm():
    with wave.open(str(AUDIO / "sentence-slt.wav")) as file:
        return file.getframerate(), file.readframes(file.getnframes())


def stereo():
    rate, frames = pcm()
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(frames[at : at + 2] * 2 for at in range(0, len(frames), 2)))
    return made.getvalue()


def charges():
    return [-amount for amount in Entry.objects.filter(kind=EntryKind.USAGE).values_list("amount_micros", flat=True)]


@pytest.mark.long
@pytest.mark.parametrize("content_type", ["audio/wav", "audio/mpeg", "application/octet-stream", "video/mp4", "x/y"])
def test_body_is_the_recording_whatever_its_type_says(listen, content_type):
    response = listen("model=nova-3", content_type=content_type)
    assert response.status_code == 200, response.content
    answer = response.json()
    assert answer["results"]["channels"][0]["alternatives"][0]["transcript"].startswith("word")
    metadata, job = answer["metadata"], Job.objects.get()
    assert metadata["request_id"] == response["X-Request-Id"]
    assert metadata["sha256"] == hashlib.sha256(WAV).hexdigest()
    assert metadata["duration"] == job.duration_ms / 1000
    assert metadata["model_info"][metadata["models"][0]]["version"] == "fake"
    assert (job.model, job.dialect, job.priority) == ("nova-3", "deepgram", "interactive")
    assert charges() == [job.cost_micros]


@pytest.mark.parametrize("query", ["", "encoding=linear16&sample_rate=16000"])
def test_empty_body_is_refused_and_costs_nothing(listen, query):
    """Deepgram's package sends one when it repeats an upload that it cannot read again. An answer would be stored."""
    response = listen(query, b"")
    assert response.status_code == 400
    assert response.json()["type"] == "empty_audio"
    assert not Job.objects.exists()


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "nova-" + "x" * 9995,
        "nova-" + "x" * 56,
        "nova-\0",
        "nova-3\nx",
        "nova-\u202e3",
        "nova-é",
        "nova-3'--",
        "nova-{{7}}",
        "*",
        "nova-*",
    ],
)
def test_model_name_that_no_row_could_keep_is_refused_and_not_stored(listen, settings, name):
    response = listen(urlencode({"model": name}))
    assert response.status_code == 400, response.content
    assert response.json()["type"] == "invalid_field"
    assert len(response.content) < 1500
    assert not Job.objects.exists()
    assert not Media.objects.exists()
    assert not charges()


def test_longest_model_name_is_stored_whole(listen):
    name = "nova-" + "x" * (Job._meta.get_field("model").max_length - 5)
    assert listen(urlencode({"model": name})).status_code == 200
    assert Job.objects.get().model == name
    assert Entry.objects.get(kind=EntryKind.USAGE).details["model"] == name


@pytest.fixture
def server(settings):
    with remote.running(WAV) as running:
        settings.ALLOWED_PRIVATE_ADDRESSES = [running.socket]
        yield running


@pytest.fixture
def listen_to(listen):
    """Return a call with a URL and a query."""

    def call(url, query="model=nova-3", **arguments):
        return listen(query, json.dumps({"url": url}), content_type="application/json", **arguments)

    return call


@pytest.mark.long
@pytest.mark.enable_socket
def test_file_at_a_url_is_answered_as_if_it_were_the_body(listen, listen_to, server):
    by_url = listen_to(server.url("/talk.mp3"), "model=nova-3&punctuate=true")
    assert by_url.status_code == 200, by_url.content
    as_body = listen("model=nova-3&punctuate=true")
    answers = [response.json() for response in (by_url, as_body)]
    assert answers[0]["results"] == answers[1]["results"]
    metadata = answers[0]["metadata"]
    assert metadata["sha256"] == hashlib.sha256(WAV).hexdigest()
    assert metadata["duration"] == answers[1]["metadata"]["duration"]
    assert Job.objects.get(name="talk.mp3").priority == "interactive"
    assert charges() == [job.cost_micros for job in Job.objects.all()]


@pytest.mark.long
@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("path", "status", "error_type"),
    [
        ("/status?code=404", 400, "url_not_found"),
        ("/status?code=401", 400, "url_refused"),
        ("/status?code=500", 400, "url_unreachable"),
        ("/redirect?to=http://10.0.0.1/", 400, "url_not_allowed"),
        ("/huge", 413, "url_too_large"),
    ],
)
def test_file_that_cannot_be_had_is_told_as_deepgram_does(listen_to, server, path, status, error_type):
    response = listen_to(server.url(path))
    answer = response.json()
    assert (response.status_code, answer["err_code"], answer["type"]) == (status, "REMOTE_CONTENT_ERROR", error_type)
    assert answer["request_id"] == response["X-Request-Id"]
    assert response["x-should-retry"] == "false"
    assert charges() == []


@pytest.mark.enable_socket
def test_page_at_a_url_is_no_recording(listen_to, server):
    server.content = b"<!doctype html><title>Sign in</title>"
    response = listen_to(server.url("/talk.mp3"))
    assert (response.status_code, response.json()["err_code"]) == (400, "Bad Request")
    assert response.json()["type"] == "not_audio"


@pytest.mark.enable_socket
def test_balance_that_does_not_cover_the_file_is_told_when_that_is_known(listen_to, server):
    Wallet.objects.update(balance_micros=100)
    response = listen_to(server.url("/talk.mp3"))
    assert (response.status_code, response.json()["type"]) == (402, "insufficient_balance")
    assert response["x-should-retry"] == "false"
    assert charges() == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a.mp3", "https://u:p@example.com/a.mp3", "talk.mp3", "https://a.example/\ud800"]
)
def test_url_that_may_not_be_called_is_refused_at_once(listen_to, url):
    response = listen_to(url)
    assert (response.status_code, response.json()["err_code"], response.json()["type"]) == (
        400,
        "Bad Request",
        "invalid_field",
    )
    assert not Job.objects.exists()


@pytest.mark.enable_socket
def test_idempotency_key_fetches_once(listen_to, server, key):
    headers = {"Authorization": f"Token {key}", "Idempotency-Key": "call-1"}
    first, second = (listen_to(server.url("/talk.mp3"), headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert second["Idempotency-Replayed"] == "true"
    assert len(server.asked) == Job.objects.count() == 1
    other = listen_to(server.url("/whole"), headers=headers)
    assert (other.status_code, other.json()["type"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize("body", ["{", "[]", '{"url": 7}', "", "[" * 60_000])
def test_json_without_an_address_is_refused(listen, body):
    response = listen("", body, content_type="application/json; charset=utf-8")
    assert (response.status_code, response.json()["err_code"]) == (400, "Bad Request")


def test_large_json_is_refused_before_it_is_read_whole(listen):
    response = listen("", '"' + "x" * 100_000 + '"', content_type="application/json")
    assert response.status_code == 413


def test_headerless_sound_has_its_length_and_its_digest(listen):
    rate, frames = pcm()
    response = listen(f"encoding=linear16&sample_rate={rate}", frames)
    metadata = response.json()["metadata"]
    assert metadata["sha256"] == hashlib.sha256(frames).hexdigest()
    assert metadata["duration"] == pytest.approx(len(frames) / 2 / rate, abs=0.001)


@pytest.mark.long
def test_channels_apart_cost_a_recording_each(listen):
    response = listen("multichannel=true&utterances=true", stereo())
    answer = response.json()
    assert answer["metadata"]["channels"] == len(answer["results"]["channels"]) == 2
    assert {one["channel"] for one in answer["results"]["utterances"]} == {0, 1}
    [job] = Job.objects.all()
    seconds = -(-job.duration_ms // 1000)
    assert charges() == [2 * round(seconds * 300_000 / 3600)]


def test_unknown_parameters_are_named(listen):
    warnings = listen("langauge=en&numerals=true").json()["metadata"]["warnings"]
    assert [one["parameter"] for one in warnings] == ["numerals", "langauge"]


@pytest.mark.parametrize(
    ("query", "param"), [("model=gpt-9", "model"), ("language=xx", "language"), ("redact=pci", "redact")]
)
def test_wrong_value_is_refused_by_name(listen, query, param):
    response = listen(query)
    assert (response.status_code, response.json()["param"]) == (400, param)
    assert not Job.objects.exists()


@pytest.mark.long
@pytest.mark.parametrize("model", ["nova-3", "nova-2-meeting", "enhanced", "base", "whisper-large", "standard", ""])
def test_names_of_deepgrams_models_cost_what_the_standard_does(listen, model):
    assert listen(f"model={model}").status_code == 200
    [job] = Job.objects.all()
    assert job.rate_micros == 300_000


@pytest.mark.long
@pytest.mark.parametrize("form", ["Token {}", "token {}", "Bearer {}"])
def test_key_may_be_a_token_or_a_bearer(listen, key, form):
    assert listen(headers={"Authorization": form.format(key)}).status_code == 200


def test_basic_authentication_is_not_for_this_address(listen):
    response = listen(headers={"Authorization": "Basic dXNlcjprZXk="})
    assert (response.status_code, response.json()["err_code"]) == (401, "INVALID_AUTH")
    assert response["WWW-Authenticate"] == "Token, Bearer"
    assert "Authorization: Token" in response.json()["err_msg"]


def test_extra_and_tags_are_metadata_of_the_job_and_tags_of_its_charge(listen):
    query = urlencode([("extra", "customer:acme"), ("extra", "no name"), ("extra", ":x"), ("tag", "a"), ("tag", "b")])
    assert listen(query).status_code == 200
    expected = {"customer": "acme", "no name": "", "tag": "a, b"}
    assert Job.objects.get().metadata == expected
    entry = Entry.objects.get(kind=EntryKind.USAGE)
    assert dict(entry.tags.values_list("name", "value")) == {"customer": "acme", "tag": "a, b"}
