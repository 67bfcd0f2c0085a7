"""`/v1/listen`: what is read of a request, what it costs, and what comes back."""

import hashlib
import io
import json
import wave

import pytest
from django.test import Client

from accounts import api_keys
from billing.models import Entry, EntryKind
from tests.conftest import AUDIO
from tests.dialects.faces import working
from transcription.models import Job

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


def test_address_is_not_fetched(listen):
    response = listen("model=nova-3", json.dumps({"url": "https://example.com/a.mp3"}), content_type="application/json")
    assert (response.status_code, response.json()["err_code"]) == (501, "NOT_IMPLEMENTED")


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


@pytest.mark.parametrize("model", ["nova-3", "nova-2-meeting", "enhanced", "base", "whisper-large", "standard", ""])
def test_names_of_deepgrams_models_cost_what_the_standard_does(listen, model):
    assert listen(f"model={model}").status_code == 200
    [job] = Job.objects.all()
    assert job.rate_micros == 300_000


@pytest.mark.parametrize("form", ["Token {}", "token {}", "Bearer {}"])
def test_key_may_be_a_token_or_a_bearer(listen, key, form):
    assert listen(headers={"Authorization": form.format(key)}).status_code == 200


def test_basic_authentication_is_not_for_this_address(listen):
    response = listen(headers={"Authorization": "Basic dXNlcjprZXk="})
    assert (response.status_code, response.json()["err_code"]) == (401, "INVALID_AUTH")
    assert response["WWW-Authenticate"] == "Token, Bearer"
    assert "Authorization: Token" in response.json()["err_msg"]
