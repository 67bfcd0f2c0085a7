"""`/asr` and `/detect-language`: what is read of a request, what it costs, and what comes back."""

import base64
import wave

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
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
    return api_keys.issue(organization, name="films", by=None)[1]


@pytest.fixture
def post(key):
    """Return a call of an address with a recording and a query; a worker does its job meanwhile."""

    def call(path, content=WAV, *, part="audio_file", headers=None, form=None, **query):
        address = path + "?" + "&".join(f"{name}={value}" for name, value in query.items())
        body = {part: SimpleUploadedFile("sound.wav", content), **(form or {})}
        with working():
            return Client().post(address, body, headers=headers or {"X-API-Key": key})

    return call


def pcm(seconds=None):
    """Return sound as Bazarr sends it: 16 kHz, mono, 16 bits, no header."""
    with wave.open(str(AUDIO / "sentence-slt.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        frames = file.readframes(file.getnframes())
    return frames if seconds is None else (frames * 100)[: round(seconds * 32_000)]


def charges():
    return [-amount for amount in Entry.objects.filter(kind=EntryKind.USAGE).values_list("amount_micros", flat=True)]


@pytest.mark.long
@pytest.mark.parametrize("output", ["", "txt", "json", "srt", "vtt", "tsv"])
def test_every_output(post, output):
    response = post("/asr", output=output)
    assert response.status_code == 200
    expected = "application/json" if output == "json" else "text/plain; charset=utf-8"
    assert response["Content-Type"] == expected
    assert response["Asr-Engine"] == "fake"
    assert response["Content-Disposition"] == f'attachment; filename="sound.wav.{output or "txt"}"'
    assert "word" in response.content.decode()


@pytest.mark.long
def test_sound_without_a_header_has_its_length_and_price(post):
    """As a film comes from Bazarr: the name from the query, and 125 s cost 125 s."""
    response = post("/asr", pcm(124.5), encode="false", output="srt", video_file="/films/A%20Film.mkv")
    assert response.status_code == 200, response.content
    job = Job.objects.get()
    assert (job.duration_ms, job.name, job.dialect) == (124_500, "A Film.mkv", "asr")
    assert charges() == [job.cost_micros] == [round(125 * 300_000 / 3600)]
    assert response["Content-Disposition"] == 'attachment; filename="A%20Film.mkv.srt"'


def test_file_with_a_header_is_read_by_it_even_if_none_was_promised(post):
    """Read as samples, the header of a WAV would be noise, and of an MP3 all of it."""
    with wave.open(str(AUDIO / "sentence-slt.wav")) as file:
        length_ms = round(file.getnframes() * 1000 / file.getframerate())
    for name in ("sentence-slt.wav", "sentence-slt.mp3"):
        assert post("/asr", (AUDIO / name).read_bytes(), encode="false").status_code == 200
    for job in Job.objects.all():
        assert abs(job.duration_ms - length_ms) < 100


@pytest.mark.parametrize("content", [b"", b"\x01"])
def test_no_sound_is_refused_and_costs_nothing(post, content):
    for path in ("/asr", "/detect-language"):
        response = post(path, content, encode="false")
        assert response.status_code == 400
        assert response.json()["type"] == "empty_audio"
    assert not Job.objects.exists()
    assert charges() == []


def test_name_without_a_name_in_it_is_no_error(post):
    assert post("/asr", video_file="/films/").status_code == 200
    assert Job.objects.get().name == "recording"


@pytest.mark.long
def test_language_is_detected_for_half_a_minute_at_most(post):
    response = post("/detect-language", pcm(90), encode="false", video_file="/films/a.mkv")
    assert response.status_code == 200, response.content
    assert response.json() == {"detected_language": "english", "language_code": "en", "confidence": 0.9}
    assert charges() == [2_500]


def test_recording_without_speech_has_no_language(post):
    response = post("/detect-language", bytes(32_000 * 3), encode="false")
    assert response.status_code == 200
    assert response.json()["language_code"] == "und"


def test_fields_of_a_form_are_read_and_the_query_comes_first(post):
    response = post("/asr", form={"output": "srt", "language": "en"}, output="json")
    assert response.json()["language"] == "en"
    assert post("/asr", form={"output": "tsv"}).content.startswith(b"start\tend\ttext\n")


def test_part_may_be_called_file(post):
    assert post("/asr", part="file").status_code == 200
    response = post("/asr", part="sound")
    assert (response.status_code, response.json()["param"]) == (400, "audio_file")


@pytest.mark.long
def test_speakers_are_labeled_only_if_they_are_asked_for(post):
    segments = post("/asr", output="json").json()["segments"]
    assert all("speaker" not in segment and "words" not in segment for segment in segments)
    segments = post("/asr", output="json", diarize="true", word_timestamps="true").json()["segments"]
    assert {segment["speaker"] for segment in segments} == {"SPEAKER_00"}
    assert all(segment["words"] for segment in segments)


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"language": "klingon"}, "language"), ({"output": "docx"}, "output"), ({"model": "gpt-9"}, "model")],
)
def test_wrong_value_is_refused_by_name(post, fields, param):
    response = post("/asr", **fields)
    assert (response.status_code, response.json()["param"]) == (400, param)
    assert param in response.json()["detail"]
    assert not Job.objects.exists()


def test_model_of_another_api_has_its_price(post):
    assert post("/asr", pcm(10), encode="false", model="whisper-large-v3-turbo").status_code == 200
    assert charges() == [round(10 * 150_000 / 3600)]
    assert post("/detect-language", model="gpt-9").json()["param"] == "model"


@pytest.mark.long
@pytest.mark.parametrize("credentials", ["{}:", ":{}", "bazarr:{}", "{}:x"])
def test_key_may_be_either_half_of_basic_authentication(post, key, credentials):
    value = base64.b64encode(credentials.format(key).encode()).decode()
    assert post("/asr", headers={"Authorization": f"Basic {value}"}).status_code == 200


def test_key_may_be_a_bearer(post, key):
    assert post("/asr", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_caller_without_a_key_is_asked_for_one(post):
    response = post("/detect-language", headers={"Authorization": "Basic Og=="})
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer, Basic realm="Voxsite"'


@pytest.mark.parametrize("path", ["/asr/", "/asrs", "/detect-language/x"])
def test_unknown_address_is_json(key, path):
    response = Client().post(path, headers={"X-API-Key": key})
    assert (response.status_code, response.json()["type"]) == (404, "not_found")
