"""`POST /transcribeapi/v1/transcribe` with one file or its address: what is sent, what comes back, what it costs."""

import io
import json
import wave
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts.gate import limits
from billing.models import Entry, EntryKind, Hold, Wallet
from billing.models.payments import TopUp, TopUpState
from tests.dialects.faces import run_all
from tests.transcription import remote
from tests.transcription.dialects.transcribeapi.calling import BASE, WAV, code
from transcription.models import Job, Media

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fake_engine")]

BILLING = {"billed_seconds", "price_per_hour", "cost", "remaining_balance"}
AROUND = "metadata,billing,detected_language"


def charges():
    return [-amount for amount in Entry.objects.filter(kind=EntryKind.USAGE).values_list("amount_micros", flat=True)]


def silence(seconds):
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes([128]) * 8000 * seconds)
    return made.getvalue()


# --- While the caller waits ---


@pytest.mark.long
def test_answer_of_the_documentation(transcribe, organization):
    response = transcribe(language="en", vtt_granularity="sentence")
    assert response.status_code == 200, response.content
    answer, job = response.json(), Job.objects.get()
    assert (answer["job_id"], answer["status"], answer["job_status"]) == (str(job.pk), "completed", "completed")
    assert answer["billed_seconds"] == -(-job.duration_ms // 1000)
    assert (answer["price_per_hour"], answer["cost"]) == (0.15, job.cost_micros / 1_000_000)
    assert answer["remaining_balance"] == round(Wallet.objects.of(organization).get().balance_micros / 1_000_000, 6)
    assert answer["text"]
    assert answer["vtt"].startswith("WEBVTT\n\n")
    assert answer["segments"][0].keys() == {"id", "start_seconds", "end_seconds", "text"}
    assert answer["detected_language"] == "en"
    assert (job.dialect, job.model, job.priority) == ("transcribeapi", "whisper-large-v3-turbo", "interactive")
    assert charges() == [job.cost_micros]


@pytest.mark.long
def test_words_are_cues_of_their_own(transcribe):
    answer = transcribe(vtt_granularity="word").json()
    assert answer["vtt"].count("-->") == len(answer["text"].split())


@pytest.mark.long
@pytest.mark.parametrize("exclude", ["billing", "billing,vtt", " billing , vtt "])
def test_excluded_groups(transcribe, exclude):
    answer = transcribe(exclude=exclude).json()
    assert not BILLING & answer.keys()
    assert "text" in answer
    assert ("vtt" in answer) is ("vtt" not in exclude)


@pytest.mark.long
def test_bare_values(transcribe):
    text = transcribe(exclude=f"vtt,segments,{AROUND}")
    assert text["Content-Type"] == "application/json"
    assert isinstance(text.json(), str)
    assert transcribe(exclude=f"text,segments,{AROUND}").json().startswith("WEBVTT")
    assert isinstance(transcribe(exclude=f"text,vtt,{AROUND}").json(), list)


@pytest.mark.long
def test_reference_comes_back(transcribe):
    assert transcribe(reference_id="call 7").json()["reference_id"] == "call 7"


def test_file_without_anything_is_missing(transcribe):
    assert code(transcribe(None, language="en")) == (400, "missing_file")


@pytest.mark.long
def test_file_above_30_mb_is_refused(transcribe):
    assert code(transcribe(WAV.ljust(30 * 1024**2 + 1, b"\0"))) == (400, "file_too_large")
    assert not Media.objects.exists()


@pytest.mark.long
def test_recording_above_10_minutes_is_refused_and_leaves_nothing(transcribe, organization):
    before = Wallet.objects.of(organization).get().balance_micros
    response = transcribe(silence(601))
    assert code(response) == (400, "audio_too_long")
    assert response.json()["max_duration_seconds"] == 600
    assert not Job.objects.exists()
    assert not Hold.objects.exists()
    assert not Media.objects.exists()
    assert Wallet.objects.of(organization).get().balance_micros == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "klingon"}, "language"),
        ({"model": "gpt-9"}, "model"),
        ({"task": "sing"}, "task"),
        ({"vtt_granularity": "letter"}, "vtt_granularity"),
        ({"exclude": "everything"}, "exclude"),
        ({"webhook_url": "http://10.0.0.1/"}, "webhook_url"),
        ({"webhook_url": "nowhere"}, "webhook_url"),
    ],
)
def test_wrong_option_is_refused_by_name(transcribe, fields, param):
    response = transcribe(**fields)
    assert code(response) == (400, "invalid_request_options")
    assert response.json()["param"] == param
    assert not Job.objects.exists()


def test_body_that_is_no_form(call, key):
    client = Client(raise_request_exception=False)
    headers = {"Authorization": f"Bearer {key}"}
    for body, content_type in ((b"--y\r\nno", "multipart/form-data"), (b"a=b", "text/plain")):
        response = client.post(f"{BASE}/transcribe", body, content_type=content_type, headers=headers)
        assert code(response) == (400, "invalid_form_data"), content_type
    assert code(client.generic("POST", f"{BASE}/transcribe", headers=headers, content_type="")) == (
        400,
        "invalid_form_data",
    )


@pytest.mark.long
@pytest.mark.parametrize("path", ["/transcribe", "/jobs", "/add-funds"])
@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"[" * 60_000])
def test_body_that_is_no_json(key, path, body):
    response = Client(raise_request_exception=False).post(
        f"{BASE}{path}", body, content_type="application/json", headers={"Authorization": f"Bearer {key}"}
    )
    assert code(response) == (400, "invalid_json")


def test_without_credit(transcribe):
    Wallet.objects.update(balance_micros=0)
    assert code(transcribe()) == (402, "insufficient_credit")


def test_keys(call, key, organization):
    path = f"{BASE}/transcribe"
    assert code(Client().post(path)) == (401, "missing_api_key")
    assert code(Client().post(path, headers={"Authorization": "Bearer no"})) == (401, "invalid_api_key")
    organization.verified_at = None
    organization.save()
    assert code(call("post", "/transcribe")) == (403, "email_not_verified")


def test_route_that_there_is_not(call):
    for path in ("/nothing", "/jobs/x", "/transcribe/a/b/c"):
        assert code(call("get", path)) == (404, "not_found")


@pytest.mark.long
def test_engine_that_fails(transcribe, fake_engine, settings):
    from transcription.speech.errors import EngineFailed

    settings.JOB_ATTEMPTS = 1
    fake_engine.fail(EngineFailed())
    assert code(transcribe()) == (502, "transcription_failed")
    assert charges() == []


def test_crash_tells_nothing(transcribe, settings, caplog):
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "tests.dialects.test_contract.CrashingStorage"}}
    response = transcribe()
    assert code(response) == (500, "internal_error")
    assert b"secret" not in response.content


@pytest.mark.long
def test_idempotency_key_is_honoured(transcribe):
    first, second = (transcribe(headers={"Idempotency-Key": "call-1"}) for _ in range(2))
    assert second["Idempotency-Replayed"] == "true"
    assert first.json()["job_id"] == second.json()["job_id"]
    assert Job.objects.count() == 1


# --- Calls that take long ---


@pytest.mark.long
def test_call_that_takes_long_is_answered_with_its_job(call, settings):
    settings.TRANSCRIBEAPI_WAIT_SECONDS = 0.1
    response = call("post", "/transcribe", file=SimpleUploadedFile("talk.wav", WAV))
    assert response.status_code == 202, response.content
    shown = response.json()
    assert (shown["status"], shown["job_status"]) == ("queued", "queued")
    assert "remaining_balance" not in shown
    run_all()
    ended = call("get", f"/transcribe/{shown['job_id']}").json()
    assert ended["job_status"] == "completed"
    assert ended["result_url"]


def test_job_that_was_handed_over_is_not_canceled_for_want_of_waiters(call, settings):
    from transcription.dialects import joining

    settings.TRANSCRIBEAPI_WAIT_SECONDS, settings.DISCONNECT_GRACE_SECONDS = 0.1, 0
    call("post", "/transcribe", file=SimpleUploadedFile("talk.wav", WAV))
    job = Job.objects.get()
    for later in (0, 3600, 7200):
        assert joining.cancel_abandoned(now=timezone.now() + timedelta(seconds=later)) == 0
    assert joining.cancel_unless_awaited(job).status == "queued"


# --- Addresses of recordings ---


@pytest.fixture
def server(settings):
    with remote.running(WAV) as running:
        settings.ALLOWED_PRIVATE_ADDRESSES = [running.socket]
        yield running


@pytest.mark.long
@pytest.mark.enable_socket
def test_file_at_a_url_is_answered_as_if_it_were_sent(transcribe, server):
    by_url = transcribe(None, url=server.url("/talk.mp3"), reference_id="r").json()
    sent = transcribe(reference_id="r").json()
    changing = {"job_id", "remaining_balance"}
    assert {name: by_url[name] for name in by_url.keys() - changing} == {
        name: sent[name] for name in sent.keys() - changing
    }


@pytest.mark.enable_socket
def test_url_that_cannot_be_had(transcribe, server):
    response = transcribe(None, url=server.url("/status?code=404"))
    assert code(response) == (400, "invalid_request_options")
    assert response.json()["type"] == "url_not_found"
    assert charges() == []


@pytest.mark.enable_socket
def test_job_whose_url_cannot_be_had_says_so(post, server):
    job_id = post("/transcribe", {"files": [{"url": server.url("/status?code=404")}]}).json()["job_id"]
    run_all()
    shown = post(f"/transcribe/{job_id}", method="get").json()
    assert (shown["status"], shown["job_status"], shown["cost"]) == ("failed_source_missing", "failed", 0)


def test_url_that_may_not_be_called(transcribe):
    assert code(transcribe(None, url="http://127.0.0.1/a.mp3")) == (400, "invalid_request_options")
    assert not Job.objects.exists()


# --- Rates ---


@pytest.fixture
def small_rates(settings):
    settings.RATE_LIMITS = {
        **settings.RATE_LIMITS,
        "transcribeapi_free": "1/minute",
        "transcribeapi_paid": "2/minute",
    }
    limits._limit.cache_clear()
    yield
    limits._limit.cache_clear()


def test_plan_without_a_top_up_has_the_small_rate(call, small_rates):
    assert code(call("post", "/transcribe")) == (400, "missing_file")
    response = call("post", "/jobs", as_json={})
    assert code(response) == (429, "rate_limit_exceeded")
    assert (response.json()["plan"], response.json()["max_requests"]) == ("free", 1)
    assert int(response["Retry-After"]) > 0
    assert code(call("get", f"/transcribe/{'0' * 8}")) == (404, "job_not_found")


def test_first_top_up_gives_the_larger_rate(call, organization, small_rates):
    call("post", "/transcribe")
    TopUp.objects.create(
        organization=organization, amount_cents=500, bonus_cents=0, state=TopUpState.PAID, paid_at=timezone.now()
    )
    for _ in range(2):
        assert code(call("post", "/transcribe")) == (400, "missing_file")
    response = call("post", "/transcribe")
    assert (response.json()["plan"], response.json()["max_requests"]) == ("paid", 2)


# --- Keys of webhooks ---


def test_keys_of_webhooks_are_at_both_addresses():
    below = Client().get("/transcribeapi/.well-known/transcribeapi-webhook-keys.json")
    at_root = Client().get("/.well-known/transcribeapi-webhook-keys.json")
    assert below.json() == at_root.json()
    [one] = below.json()["keys"]
    assert (one["key_id"], one["algorithm"]) == ("v1", "ed25519")
    assert one["x"]
    assert json.loads(at_root.content)
