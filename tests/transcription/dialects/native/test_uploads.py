"""A file is sent first and transcribed later, and its status is polled: VoxScriber's way to a transcript."""

import json
import uuid
from datetime import datetime, timedelta

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from accounts.gate import limits
from accounts.models import IdempotencyRecord, Organization
from billing import statements
from billing.models import Entry, Hold, Wallet
from tests.conftest import AUDIO, text_of
from tests.dialects.test_contract import stored_files
from tests.fixtures import hostile
from tests.transcription.dialects.native.test_views import HOSTILE
from tests.transcription.factories import make_batch, make_job, make_transcript
from tests.transcription.recordings import lanes
from transcription import jobs
from transcription.jobs import work
from transcription.models import Job, JobItem, Media
from transcription.recordings import probe_lanes

SENTENCE = "sentence-slt.wav"
CONTENT = (AUDIO / SENTENCE).read_bytes()


def upload(api, content=CONTENT, name=SENTENCE, headers=None, **fields):
    return api.post("/v1/upload", {"file": SimpleUploadedFile(name, content), **fields}, headers=headers)


def order(api, body, headers=None):
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return api.post("/v1/transcribe", text, headers=headers, content_type="application/json")


def error_of(response):
    return response.status_code, response.json()["error"]["type"]


@pytest.fixture
def file_id(api):
    return upload(api).json()["file_id"]


@pytest.fixture
def assert_nothing_stored(organization):
    before = set(stored_files())

    def check():
        assert not Media.objects.exists()
        assert set(stored_files()) == before

    return check


# --- Upload ----------------------------------------------------------------------------------------------------------


def test_upload_says_what_the_file_is(api, organization, settings):
    response = upload(api, name="call.wav")
    assert response.status_code == 201
    body = response.json()
    media = Media.objects.get()
    assert body == {
        "file_id": str(media.pk),
        "name": "call.wav",
        "duration": media.duration_ms / 1000,
        "size": len(CONTENT),
        "format": "wav",
        "channels": 1,
        "created_at": body["created_at"],
        "expires_at": body["expires_at"],
    }
    created, expires = (datetime.strptime(body[name], "%Y-%m-%d %H:%M:%S") for name in ("created_at", "expires_at"))
    assert abs((expires - created).total_seconds() - settings.ORDERABLE_HOURS * 3600) <= 5


def test_upload_costs_nothing(api, organization):
    before = statements.balance(organization)
    entries = Entry.objects.count()
    upload(api)
    assert statements.balance(organization) == before
    assert (Entry.objects.count(), Hold.objects.count(), Job.objects.count()) == (entries, 0, 0)


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_upload_leaves_no_trace(api, tmp_path, name, assert_nothing_stored):
    make, status, error_type = HOSTILE[name]
    response = upload(api, make(tmp_path).read_bytes())
    assert response.status_code == status
    if error_type:
        assert response.json()["error"]["type"] == error_type
    assert_nothing_stored()


def test_cut_file_is_stored_on_request(api, tmp_path):
    content = hostile.truncated(tmp_path, file=SENTENCE, part=0.6).read_bytes()
    assert error_of(upload(api, content)) == (400, "truncated_audio")
    stored = upload(api, content, accept_truncated="true")
    assert stored.status_code == 201
    assert order(api, {"file_id": stored.json()["file_id"]}).status_code == 201


def test_too_large_upload(api, settings, assert_nothing_stored):
    settings.MAX_UPLOAD_BYTES = 1000
    assert error_of(upload(api)) == (413, "body_too_large")
    assert_nothing_stored()


def test_upload_without_key_and_with_a_wrong_one(api, client, assert_nothing_stored):
    body = {"file": SimpleUploadedFile(SENTENCE, CONTENT)}
    for headers in ({}, {"X-API-Key": "nonsense"}):
        assert client.post("/v1/upload", body, headers=headers).status_code == 401
    assert_nothing_stored()


def test_upload_of_an_unverified_owner(api, assert_nothing_stored):
    Organization.objects.update(verified_at=None)
    assert error_of(upload(api)) == (403, "email_not_verified")
    assert_nothing_stored()


def test_upload_that_nobody_could_pay_for_is_refused_before_it_is_probed(api, assert_nothing_stored):
    Wallet.objects.update(balance_micros=82)
    assert error_of(upload(api, b"no recording at all")) == (402, "insufficient_balance")
    assert_nothing_stored()


def test_files_without_a_job_are_limited(api, file_id, settings):
    settings.MAX_ORDERABLE_BYTES = len(CONTENT)
    assert error_of(upload(api)) == (409, "too_many_stored_files")
    order(api, {"file_id": file_id})
    assert upload(api).status_code == 201


def test_uploads_are_limited_like_transcriptions(api, settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "uploads": "2/minute"}
    limits._limit.cache_clear()
    try:
        assert [upload(api, b"no audio").status_code for _ in range(3)] == [400, 400, 429]
        assert order(api, {"file_id": "x"}).status_code == 429
    finally:
        limits._limit.cache_clear()


def test_organization_whose_uploads_wait_is_told_to_wait(api, organization, assert_nothing_stored):
    with lanes.filled(organization.pk):
        response = upload(api)
    assert error_of(response) == (429, "too_many_open")
    assert response["Retry-After"] == str(probe_lanes.LANES[0].retry_seconds)
    assert_nothing_stored()


class CrashingStorage(FileSystemStorage):
    def _save(self, name, content):
        raise RuntimeError("a secret in a traceback")


def test_crash_of_the_storage_leaves_no_trace(api, settings, caplog, assert_nothing_stored):
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"{__name__}.CrashingStorage"}}
    response = upload(api)
    assert error_of(response) == (500, "internal_error")
    assert b"secret" not in response.content
    assert "a secret in a traceback" in caplog.text
    assert_nothing_stored()


def test_broken_and_incomplete_uploads(api, assert_nothing_stored):
    broken = api.post("/v1/upload", b"--y\r\nno part", content_type="multipart/form-data; boundary=x")
    assert broken.status_code == 400
    assert error_of(api.post("/v1/upload", {"file": "only text"})) == (400, "missing_field")
    assert error_of(api.post("/v1/upload")) == (400, "missing_field")
    two = [SimpleUploadedFile(name, CONTENT) for name in ("a.wav", "b.wav")]
    assert error_of(api.post("/v1/upload", {"file": two})) == (400, "invalid_field")
    assert error_of(upload(api, language="en")) == (400, "unknown_field")
    assert error_of(upload(api, accept_truncated="maybe")) == (400, "invalid_field")
    for method in ("get", "put", "delete", "patch"):
        assert getattr(api.client, method)("/v1/upload", headers={"X-API-Key": api.key}).status_code == 405
    assert_nothing_stored()


def test_upload_sent_twice_with_one_idempotency_key_is_stored_once(api):
    first, second = (upload(api, headers={"Idempotency-Key": "file-1"}) for _ in range(2))
    assert first.json() == second.json()
    assert second["Idempotency-Replayed"] == "true"
    assert Media.objects.count() == 1
    other = upload(api, (AUDIO / "sentence-slt.flac").read_bytes(), headers={"Idempotency-Key": "file-1"})
    assert error_of(other) == (409, "idempotency_key_reused")


def test_upload_whose_key_was_taken_over_leaves_no_trace(api, organization, settings, assert_nothing_stored):
    """Another attempt took the key over while this one was probing."""
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"{__name__}.TakingOver"}}
    assert error_of(upload(api, headers={"Idempotency-Key": "file-2"})) == (409, "idempotency_key_in_use")
    assert_nothing_stored()


class TakingOver(FileSystemStorage):
    def _save(self, name, content):
        IdempotencyRecord.objects.update(created_at=timezone.now() + timedelta(seconds=1))
        return super()._save(name, content)


# --- Order -----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_file_is_transcribed_by_its_id(api, organization, engine, file_id):
    response = order(api, {"file_id": file_id})
    assert response.status_code == 201
    assert set(response.json()) == {"job_id", "status", "model", "message"}
    for item in JobItem.objects.all():
        work.run_item(item.pk)
    status = api.get(f"/v1/status/{response.json()['job_id']}").json()
    assert (status["status"], status["progress"], status["error"]) == ("completed", 100, None)
    assert status["transcript"].lower() == text_of(SENTENCE)


def test_json_has_the_fields_of_the_form(api, file_id):
    asked = {
        "file_id": file_id,
        "model": "premium",
        "language": "en",
        "diarize": False,
        "hotwords": ["Voxsite", "Redis"],
        "word_timestamps": False,
        "channels": "split",
        "prompt": "A \u201cquote\u201d",
    }
    assert order(api, asked).status_code == 201
    form = {name: value for name, value in asked.items() if name != "file_id"}
    form |= {"diarize": "false", "word_timestamps": "false"}
    assert api.transcribe(**form).status_code == 201
    by_json, by_form = Job.objects.order_by("created_at")
    assert (by_json.options, by_json.model, by_json.name) == (by_form.options, by_form.model, by_form.name)
    assert by_json.quoted_micros == by_form.quoted_micros


def test_file_id_can_stand_in_a_form_but_not_beside_a_file(api, file_id):
    assert api.post("/v1/transcribe", {"file_id": file_id, "model": "standard"}).status_code == 201
    both = api.transcribe(file_id=file_id)
    assert (both.status_code, both.json()["error"]["param"]) == (400, "file_id")


def test_file_can_be_transcribed_several_times_and_each_is_held(api, organization, file_id):
    for model in ("standard", "premium", "standard"):
        assert order(api, {"file_id": file_id, "model": model}).status_code == 201
    assert Media.objects.count() == 1
    quoted = list(Job.objects.values_list("quoted_micros", flat=True))
    assert len(quoted) == 3
    assert statements.balance(organization).held_micros == sum(quoted)


def test_strangers_file_is_not_there(api, stranger, file_id):
    as_stranger = order(stranger, {"file_id": file_id})
    unknown = order(stranger, {"file_id": str(uuid.uuid4())})
    assert error_of(as_stranger) == error_of(unknown) == (404, "file_not_found")
    assert as_stranger.json()["error"]["message"] == unknown.json()["error"]["message"]
    assert not Job.objects.exists()


@pytest.mark.parametrize("bad", ["nonsense", "x" * 5000, "\u0000", "{00000000-0000-0000-0000-000000000000}", 7])
def test_impossible_file_id_is_404(api, bad):
    assert error_of(order(api, {"file_id": bad})) == (404, "file_not_found")


def test_order_without_money_keeps_the_file_for_another_try(api, file_id):
    Wallet.objects.update(balance_micros=100)
    response = order(api, {"file_id": file_id})
    assert error_of(response) == (402, "insufficient_balance")
    assert response.json()["error"]["required_micros"] > 100
    assert not Job.objects.exists()
    Wallet.objects.update(balance_micros=1_000_000)
    assert order(api, {"file_id": file_id}).status_code == 201


@pytest.mark.long
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ("", "file"),
        ({}, "file"),
        ({"file_id": ""}, "file"),
        ({"file_id": None}, "file"),
        ({"file": "x"}, "file"),
        ({"file_id": ["x"]}, "file_id"),
        ({"file_id": "x", "modle": "premium"}, "modle"),
        ({"file_id": "x", "model": "best"}, "model"),
        ({"file_id": "x", "model": {"name": "best"}}, "model"),
        ({"file_id": "x", "num_speakers": -1}, "num_speakers"),
        ({"file_id": "x", "num_speakers": 1.5}, "num_speakers"),
        ({"file_id": "x", "prompt": "a\u0000b"}, "prompt"),
    ],
)
def test_bad_field_is_refused_by_name(api, body, param):
    response = order(api, body)
    assert response.status_code == 400, response.content
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("body", ["{", "[]", '"x"', '{"prompt": "\\ud800"}', "[" * 20_000])
def test_broken_json_is_refused(api, body):
    assert error_of(order(api, body)) == (400, "invalid_request")


def test_large_json_is_refused(api):
    assert error_of(order(api, {"prompt": "x" * 300_000})) == (413, "body_too_large")


def test_order_sent_twice_with_one_idempotency_key_is_one_job(api, file_id):
    headers = {"Idempotency-Key": "order-1"}
    first, second = (order(api, {"file_id": file_id}, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    assert second["Idempotency-Replayed"] == "true"
    assert (Job.objects.count(), Hold.objects.count()) == (1, 1)
    other = order(api, {"file_id": file_id, "model": "premium"}, headers=headers)
    assert error_of(other) == (409, "idempotency_key_reused")


# --- Status ----------------------------------------------------------------------------------------------------------


def test_status_has_no_transcript_until_it_is_completed(api, organization):
    job = make_job(organization)
    shown = {"job_id": str(job.pk), "status": "queued", "progress": 0, "transcript": None, "error": None}
    assert api.get(f"/v1/status/{job.pk}").json() == shown
    item = jobs.claim(job.items.get().pk)
    jobs.touch(item, progress=40)
    assert api.get(f"/v1/status/{job.pk}").json() == {**shown, "status": "processing", "progress": 40}
    jobs.finish_item(item, transcript=make_transcript("hello there"))
    completed = {**shown, "status": "completed", "progress": 100, "transcript": "hello there"}
    assert api.get(f"/v1/status/{job.pk}").json() == completed


def test_status_of_silence_is_an_empty_text(api, organization):
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript(""))
    assert api.get(f"/v1/status/{job.pk}").json()["transcript"] == ""


def test_status_of_a_failed_job_says_why(api, organization):
    job = make_job(organization)
    jobs.reject_item(jobs.claim(job.items.get().pk), error_type="not_audio", message="No audio.")
    status = api.get(f"/v1/status/{job.pk}").json()
    assert (status["status"], status["transcript"]) == ("failed", None)
    assert status["error"] == {"type": "not_audio", "message": "No audio."}


def test_status_of_several_recordings_has_no_text(api, organization):
    job = make_batch(organization, 2)
    for item in job.items.all():
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript("hello"))
    status = api.get(f"/v1/status/{job.pk}").json()
    assert (status["status"], status["transcript"]) == ("completed", None)
