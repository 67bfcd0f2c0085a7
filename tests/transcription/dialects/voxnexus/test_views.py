"""POST /v1/stt through the whole application: recordings and bare samples, the answer, the language model, money."""

import asyncio
import json
import wave
from urllib.parse import quote

import pytest
from django.test import Client

from accounts import api_keys, redis_connections
from apex import upstream
from billing import statements, tariff
from billing.models import Entry, EntryKind, Hold, HoldState, Wallet
from tests.conftest import AUDIO
from tests.transcription.dialects.waiting_calls import call, fail, finish, in_thread, submitted, until
from transcription.models import Job, Media
from voxsite import asgi

pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db(transaction=True)]

STT = "/v1/stt?model_id=vn-stt-basic&sample_rate=16000"
WAV = (AUDIO / "sentence-slt.wav").read_bytes()
MP3 = (AUDIO / "sentence-slt.mp3").read_bytes()


def stt(path, *, key, body=WAV, content_type="audio/wav", headers=None):
    """Begin a call."""
    return call(
        path,
        key=key,
        body=body,
        application=asgi.application,
        headers={"Content-Type": content_type, **(headers or {})},
    )


def answer(path, *, key, said="hello there", **fields):
    """Return the finished call whose recording says these words."""

    async def act():
        try:
            began = stt(path, key=key, **fields)
            (job_id,) = await submitted()
            await finish(job_id, said)
            await began.end()
            return began
        finally:
            await upstream.close()

    return asyncio.run(act())


def charges():
    """Return what was charged in micro-dollars, oldest first."""
    return [-entry.amount_micros for entry in Entry.objects.filter(kind=EntryKind.USAGE).order_by("id")]


def post(path, body=WAV, *, key, **fields):
    """Return the response to a call that is refused at once."""
    return Client().post(path, body, headers={"X-API-Key": key}, **{"content_type": "audio/wav", **fields})


@pytest.mark.long
def test_recording_is_answered_in_the_same_call(organization, key):
    done = answer(STT, key=key)
    assert done.status == 200
    job = Job.objects.get()
    assert done.json == {
        "request_id": done.headers["x-request-id"],
        "transcript": "hello there",
        "text": "hello there",
        "duration_ms": job.items.get().duration_ms,
        "created_at": job.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "language": "en-US",
    }
    assert (job.model, job.dialect) == ("vn-stt-basic", "voxnexus")
    assert charges() == [job.cost_micros]
    assert Media.objects.get().container == "wav"


def test_published_header_and_bearer_carry_the_key(key):
    for headers in ({"X-Api-Key": key}, {"Authorization": f"Bearer {key}"}):
        response = Client().post("/v1/stt?sample_rate=16000", WAV, content_type="audio/wav", headers=headers)
        assert response.json()["error"]["param"] == "model_id"


def test_words_and_speakers_come_where_they_are_asked_for(key):
    done = answer(f"{STT}&enable_timestamps=true&enable_speaker_diarization=true", key=key)
    assert done.json["words"][1] == {"word": "there", "offset": 400, "duration": 300, "confidence": 0.9}
    assert done.json["speakers"] == [{"speaker_id": "speaker_1", "text": "hello there", "offset": 0, "duration": 700}]
    options = Job.objects.get().options
    assert options["diarize"]
    assert options["word_timestamps"]


def test_samples_without_a_container_are_pcm_at_the_sample_rate(key):
    with wave.open(str(AUDIO / "sentence-slt.wav")) as file:
        samples = file.readframes(file.getnframes())
    answer("/v1/stt?model_id=vn-stt-basic&sample_rate=8000", key=key, body=samples, content_type="audio/mpeg")
    media = Media.objects.get()
    assert (media.container, media.codec, media.channels) == ("wav", "pcm_s16le", 1)
    assert media.duration_ms == pytest.approx(len(samples) / 2 / 8, abs=1)


@pytest.mark.long
@pytest.mark.parametrize("content_type", ["audio/wav", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_container_is_decoded_whatever_its_content_type_says(key, content_type):
    answer(STT, key=key, body=MP3, content_type=content_type)
    assert Media.objects.get().container == "mp3"


@pytest.mark.long
def test_body_without_a_length_is_taken(key):
    """As curl sends what it reads from a pipe: in chunks, without Content-Length."""

    async def act():
        began = call(STT, key=key, body=b"", application=asgi.application, headers={"Content-Type": "audio/mpeg"})
        began._body = MP3
        (job_id,) = await submitted()
        await finish(job_id)
        await began.end()
        return began

    assert asyncio.run(act()).status == 200
    assert Media.objects.get().size_bytes == len(MP3)


@pytest.mark.long
@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"", "audio/wav", "empty_audio"),
        (b'{"url": "https://example.com/a.mp3"}', "application/json", "unsupported_media_type"),
        (b"--x\r\n", "multipart/form-data; boundary=x", "unsupported_media_type"),
        (b"model_id=vn-stt-basic&sample_rate=16000", "application/x-www-form-urlencoded", "not_audio"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "audio/wav", "not_audio"),
        (WAV[:3000], "audio/wav", "truncated_audio"),
    ],
)
def test_what_is_no_recording_is_refused_and_leaves_nothing(organization, key, body, content_type, code):
    before = statements.balance(organization).balance_micros
    response = post(STT, body, key=key, content_type=content_type)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert response.json()["request_id"] == response.headers["X-Request-Id"]
    assert response.headers["x-should-retry"] == "false"
    assert not Job.objects.exists()
    assert not Media.objects.exists()
    assert statements.balance(organization).balance_micros == before


def test_refusals_name_the_parameter(key):
    for path, param in (
        ("/v1/stt", "model_id"),
        (f"{STT}&llm_prompt=x&enable_llm_transform=maybe", "enable_llm_transform"),
        (f"{STT}&enable_llm_transform=true", "llm_prompt"),
        (f"{STT}&langauge=en", "langauge"),
        (f"{STT}&sample_rate=0", "sample_rate"),
    ):
        response = post(path, key=key)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert not Media.objects.exists()


def test_addresses_below_speak_the_same_words(key):
    for path in ("/v1/stt/", "/v1/stt/nothing"):
        response = Client().post(path, headers={"X-API-Key": key})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "not_found"


def test_engine_failure_is_an_error_and_costs_nothing(organization, key):
    async def act():
        began = stt(STT, key=key)
        await fail((await submitted())[0])
        await began.end()
        return began

    failed = asyncio.run(act())
    assert failed.status == 500
    assert failed.json["error"]["code"] == "engine_failed"
    assert charges() == []
    assert not Hold.objects.filter(state=HoldState.OPEN).exists()


# --- The language model ------------------------------------------------------------------------------------------

TRANSFORM = f"{STT}&enable_llm_transform=true"


def test_language_model_rewrites_the_text(key, chat):
    done = answer(f"{TRANSFORM}&llm_prompt=normal%205&llm_max_tokens=99", key=key)
    assert (done.json["text"], done.json["transcript"]) == ("word0 word1 word2 word3 word4", "hello there")
    assert "warnings" not in done.json
    assert chat.bodies[0]["max_tokens"] == 99
    assert charges() == [Job.objects.get().cost_micros, 8]
    names = {entry.details["api_key_id"] for entry in Entry.objects.filter(kind=EntryKind.USAGE)}
    assert len(names) == 1


def test_metadata_is_the_tags_of_both_charges(key, chat):
    metadata = quote(json.dumps({"customer": "acme"}))
    done = answer(f"{TRANSFORM}&llm_prompt=normal%205&metadata={metadata}", key=key)
    assert done.status == 200
    assert Job.objects.get().metadata == {"customer": "acme"}
    tags = [list(entry.tags.values_list("name", "value")) for entry in Entry.objects.filter(kind=EntryKind.USAGE)]
    assert tags == [[("customer", "acme")], [("customer", "acme")]]


def test_metadata_that_is_no_object_is_refused(organization, key):
    response = post(f"{STT}&metadata=acme", key=key)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "metadata")


def test_model_that_the_site_does_not_have_is_the_default_one(key, chat):
    done = answer(f"{TRANSFORM}&llm_prompt=normal%205&llm_model_id=gpt-4.1", key=key)
    assert done.json["text"] == "word0 word1 word2 word3 word4"
    assert done.json["warnings"] == ["There is no language model 'gpt-4.1'. The default one was used."]


@pytest.mark.long
@pytest.mark.parametrize("prompt", ["status%20500", "status%20400", "normal%200", "cut%203"])
def test_failure_of_the_language_model_is_no_error(key, chat, prompt):
    done = answer(f"{TRANSFORM}&llm_prompt={prompt}", key=key)
    assert done.status == 200
    assert done.json["text"] == done.json["transcript"] == "hello there"
    assert done.json["warnings"][0].startswith("The transcript was not rewritten: ")


@pytest.mark.long
def test_money_for_the_recording_alone_gives_the_transcript(organization, key, chat):
    async def act():
        try:
            began = stt(f"{TRANSFORM}&llm_prompt=normal%205", key=key)
            (job_id,) = await submitted()
            await in_thread(leave_nothing_but_the_hold)
            await finish(job_id)
            await began.end()
            return began
        finally:
            await upstream.close()

    def leave_nothing_but_the_hold():
        wallet = Wallet.objects.get(organization=organization)
        Wallet.objects.filter(pk=wallet.pk).update(balance_micros=wallet.held_micros + 1)

    done = asyncio.run(act())
    assert (done.status, done.json["text"]) == (200, "hello there")
    assert "insufficient_balance" in done.json["warnings"][0]
    assert chat.bodies == []
    assert charges() == [Job.objects.get().cost_micros]


@pytest.mark.long
def test_limit_of_a_key_binds_the_rewriting_too(organization, chat):
    """BerriAI/litellm issue 38176: what one call orders beside its own work passed the budget."""
    with wave.open(str(AUDIO / "sentence-slt.wav")) as sound:
        duration_ms = sound.getnframes() * 1000 // sound.getframerate()
    price_micros = tariff.price_of("vn-stt-basic", duration_ms)
    _, limited = api_keys.issue(organization, name="limited", by=None, monthly_limit_micros=price_micros)
    done = answer(f"{TRANSFORM}&llm_prompt=normal%205", key=limited)
    assert (done.status, done.json["text"]) == (200, "hello there")
    assert "spend_limit_reached" in done.json["warnings"][0]
    assert chat.bodies == []
    assert charges() == [price_micros]


def test_without_a_language_model_the_transcript_is_the_text(key, settings):
    settings.APEX_UPSTREAMS = []
    done = answer(f"{TRANSFORM}&llm_prompt=translate", key=key)
    assert done.json["text"] == "hello there"
    assert done.json["warnings"] == ["The transcript was not rewritten: this site has no language model."]


@pytest.mark.long
def test_prompt_without_the_flag_asks_nobody(key, chat):
    assert answer(f"{STT}&llm_prompt=normal%205", key=key).json["text"] == "hello there"
    assert chat.bodies == []


@pytest.mark.long
def test_same_key_gets_the_same_text_and_pays_once(key, chat):
    path = f"{TRANSFORM}&llm_prompt=normal%205"
    first = answer(path, key=key, headers={"Idempotency-Key": "one"})

    async def again():
        try:
            repeated = stt(path, key=key, headers={"Idempotency-Key": "one"})
            await repeated.end()
            return repeated
        finally:
            await upstream.close()

    second = asyncio.run(again())
    assert second.json["text"] == first.json["text"] == "word0 word1 word2 word3 word4"
    assert second.headers["idempotency-replayed"] == "true"
    assert len(chat.bodies) == Job.objects.count() == 1
    assert len(charges()) == 2


@pytest.mark.long
def test_same_key_with_another_prompt_or_body_is_refused(key, chat):
    answer(f"{TRANSFORM}&llm_prompt=normal%205", key=key, headers={"Idempotency-Key": "one"})
    for path, body in ((f"{TRANSFORM}&llm_prompt=normal%206", WAV), (f"{TRANSFORM}&llm_prompt=normal%205", MP3)):
        response = Client().post(
            path, body, content_type="audio/wav", headers={"X-API-Key": key, "Idempotency-Key": "one"}
        )
        assert (response.status_code, response.json()["error"]["code"]) == (409, "idempotency_key_reused")


@pytest.mark.long
def test_client_that_leaves_while_its_text_is_rewritten_pays_for_each_work_once(organization, key, chat):
    """It sends everything again, without a key: the recording and the rewriting are those of the first call."""
    path = f"{TRANSFORM}&llm_prompt=slow%205%200.1"

    async def act():
        try:
            leaver = stt(path, key=key)
            (job_id,) = await submitted()
            await finish(job_id)
            await until(lambda: chat.bodies)
            await leaver.leave()
            await until(lambda: redis_connections.client().keys("voxsite:unanswered:*"))
            again = stt(path, key=key)
            await again.end()
            return again
        finally:
            await upstream.close()

    again = asyncio.run(act())
    assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
    assert (again.json["text"], again.json["transcript"]) == ("word0 word1 word2 word3 word4", "hello there")
    assert "warnings" not in again.json
    assert len(chat.bodies) == Job.objects.count() == 1
    assert charges() == [Job.objects.get().cost_micros, 8]
    assert not Hold.objects.filter(state=HoldState.OPEN).exists()
