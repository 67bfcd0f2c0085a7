"""Recordings that are named by URL: ordered at once, or sent first and ordered later."""

import json
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import IdempotencyRecord
from billing.models import Entry, Hold, Wallet
from tests.conftest import AUDIO, text_of
from tests.dialects.test_contract import stored_files
from tests.fixtures import hostile
from tests.transcription import remote
from transcription import jobs
from transcription.jobs import importing, work
from transcription.models import Import, Job, Upload, UploadState
from transcription.recordings import expiry

# Downloads run in threads, which must see what was written.
pytestmark = [pytest.mark.enable_socket, pytest.mark.django_db(transaction=True)]
SENTENCE = "sentence-slt.wav"
PUBLIC = "https://example.com/calls/talk.mp3"
NO_PAUSES = (0.0,) * 5


@pytest.fixture
def server(settings):
    with remote.running((AUDIO / SENTENCE).read_bytes()) as running:
        settings.ALLOWED_PRIVATE_ADDRESSES = [running.socket]
        yield running


def post(api, path, body, headers=None):
    return api.post(path, json.dumps(body), headers=headers, content_type="application/json")


def order(api, body, headers=None):
    return post(api, "/v1/transcribe", body, headers=headers)


def upload(api, url, headers=None):
    return post(api, "/v1/upload", {"url": url}, headers=headers)


def error_of(response):
    return response.status_code, response.json()["error"]["type"]


def fetch_and_verify():
    importing.fetch_all(pauses=NO_PAUSES)
    for job in Job.objects.filter(status="verifying"):
        for item in job.items.all():
            jobs.verify_item(item.pk)


def shown(api, response):
    return api.get(f"/v1/jobs/{response.json()['job_id']}").json()


@pytest.mark.long
@pytest.mark.parametrize("send", [order, lambda api, body: api.post("/v1/transcribe", body)])
def test_recording_is_transcribed_by_its_url(api, engine, server, send):
    response = send(api, {"url": server.url("/talk.mp3"), "model": "standard", "metadata": '{"order": "A-1"}'})
    assert response.status_code == 201
    assert response.json().keys() == {"job_id", "status", "model", "message"}
    assert response.json()["status"] == "queued"
    assert shown(api, response)["status"] == "queued"
    fetch_and_verify()
    job = Job.objects.get()
    work.run_item(job.items.get().pk)
    found = shown(api, response)
    assert (found["status"], found["error"], found["metadata"]) == ("completed", None, {"order": "A-1"})
    assert api.get(found["result_url"]).json()["text"].lower() == text_of(SENTENCE)
    assert Entry.objects.filter(reference=job.hold_reference).count() == 1
    status = api.get(f"/v1/status/{job.pk}").json()
    assert (status["status"], status["transcript"].lower()) == ("completed", text_of(SENTENCE))


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "error_type"),
    [
        ("/status?code=404", "url_not_found"),
        ("/status?code=403", "url_refused"),
        ("/status?code=503", "url_unreachable"),
        ("/redirect?to=http://169.254.169.254/latest/meta-data/", "url_not_allowed"),
        ("/huge", "url_too_large"),
    ],
)
def test_what_cannot_be_had_is_told_by_the_job_and_costs_nothing(api, server, path, error_type):
    response = order(api, {"url": server.url(path)})
    assert response.status_code == 201
    fetch_and_verify()
    found = shown(api, response)
    assert (found["status"], found["error"]["type"], found["cost_cents"]) == ("failed", error_type, 0)
    # Nobody learns what answered inside, nor what else the URL had in it.
    assert "169.254" not in found["error"]["message"]
    assert api.get(f"/v1/status/{response.json()['job_id']}").json()["error"]["type"] == error_type
    assert not Hold.objects.exists()


def test_page_that_is_called_a_recording_is_none(api, server):
    server.content = b"<!doctype html><title>Sign in</title>"
    before = stored_files()
    response = order(api, {"url": server.url("/talk.mp3")})
    fetch_and_verify()
    assert shown(api, response)["error"]["type"] == "not_audio"
    assert stored_files() == before


@pytest.mark.long
@pytest.mark.parametrize("path", ["/v1/transcribe", "/v1/upload"])
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.mp3",
        "http://[::ffff:10.0.0.1]/",
        "http://0x7f.1/",
        "https://alice:secret@example.com/a.mp3",
        "https://example.com:8443/a.mp3",
        "ftp://example.com/a.mp3",
        "talk.mp3",
    ],
)
def test_url_that_may_not_be_called_is_refused_at_once(api, path, url):
    response = post(api, path, {"url": url})
    assert error_of(response) == (400, "invalid_field")
    assert response.json()["error"]["param"] == "url"
    assert not Upload.objects.exists()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"url": PUBLIC, "file_id": str(uuid.uuid4())}, "url"),
        ({"url": PUBLIC, "modle": "premium"}, "modle"),
        ({"url": PUBLIC, "model": "best"}, "model"),
        ({"url": [PUBLIC]}, "url"),
        ({"url": ""}, "file"),
    ],
)
def test_request_that_makes_no_sense_is_refused_by_name(api, body, param):
    response = order(api, body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert not Upload.objects.exists()


def test_url_beside_a_file_is_refused(api):
    response = api.transcribe(url=PUBLIC)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "url")
    with (AUDIO / SENTENCE).open("rb") as file:
        response = api.post("/v1/upload", {"file": file, "url": PUBLIC})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "url")


def test_file_of_a_url_that_is_cut_off_is_accepted_if_its_upload_says_so(api, server, tmp_path):
    """`accept_truncated` of POST /v1/upload was ignored beside a url."""
    server.content = hostile.truncated(tmp_path, file=SENTENCE, part=0.6).read_bytes()
    body = {"url": server.url("/whole")}
    files = [post(api, "/v1/upload", {**body, **more}).json()["file_id"] for more in ({}, {"accept_truncated": True})]
    ordered = [post(api, "/v1/transcribe", {"file_id": file_id}).json()["job_id"] for file_id in files]
    fetch_and_verify()
    found = [Job.objects.get(pk=job_id) for job_id in ordered]
    assert [(job.status, job.error_type) for job in found] == [("failed", "truncated_audio"), ("queued", "")]


@pytest.mark.parametrize("path", ["/v1/transcribe", "/v1/upload"])
def test_nothing_is_fetched_without_money(api, path):
    Wallet.objects.update(balance_micros=0)
    assert error_of(post(api, path, {"url": PUBLIC})) == (402, "insufficient_balance")
    assert not Upload.objects.exists()


def test_url_is_not_fetched_without_a_key(client):
    response = client.post("/v1/transcribe", json.dumps({"url": PUBLIC}), content_type="application/json")
    assert response.status_code == 401
    assert not Upload.objects.exists()


@pytest.mark.parametrize("path", ["/v1/transcribe", "/v1/upload"])
def test_order_sent_twice_with_one_idempotency_key_is_fetched_once(api, path):
    headers = {"Idempotency-Key": "order-1"}
    first, second = (post(api, path, {"url": PUBLIC}, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    assert second["Idempotency-Replayed"] == "true"
    assert Import.objects.count() == 1
    other = post(api, path, {"url": f"{PUBLIC}?other"}, headers=headers)
    assert error_of(other) == (409, "idempotency_key_reused")
    assert "talk.mp3" not in json.dumps(list(IdempotencyRecord.objects.values("fingerprint")))


def test_canceled_job_is_not_fetched(api, server):
    response = order(api, {"url": server.url("/talk.mp3")})
    assert api.post(f"/v1/jobs/{response.json()['job_id']}/cancel").json()["status"] == "canceled"
    fetch_and_verify()
    assert not server.asked
    assert not Hold.objects.exists()


def test_deleted_job_leaves_nothing_of_its_url(api, server):
    before = stored_files()
    response = order(api, {"url": server.url("/talk.mp3")})
    fetch_and_verify()
    assert stored_files() != before
    assert api.client.delete(f"/v1/jobs/{response.json()['job_id']}", headers={"X-API-Key": api.key}).status_code == 200
    assert stored_files() == before
    assert not Upload.objects.exists()


# --- Sent first, ordered later ---------------------------------------------------------------------------------------


def test_file_of_a_url_is_announced_at_once(api, organization):
    response = upload(api, PUBLIC)
    found = Upload.objects.get()
    assert response.status_code == 201
    assert response.json() == {
        "file_id": str(found.pk),
        "name": "talk.mp3",
        "duration": None,
        "size": None,
        "format": None,
        "channels": None,
        "created_at": found.created_at.strftime("%Y-%m-%d %H:%M:%S"),
        "expires_at": found.expires_at.strftime("%Y-%m-%d %H:%M:%S"),
    }
    assert not Job.objects.exists()


@pytest.mark.long
@pytest.mark.parametrize("is_fetched_first", [False, True])
def test_file_of_a_url_is_ordered_before_or_after_it_has_come(api, server, is_fetched_first):
    file_id = upload(api, server.url("/talk.mp3")).json()["file_id"]
    if is_fetched_first:
        fetch_and_verify()
    responses = [order(api, {"file_id": file_id, "model": model}) for model in ("standard", "premium")]
    fetch_and_verify()
    assert [response.status_code for response in responses] == [201, 201]
    assert {job.status for job in Job.objects.all()} == {"queued"}
    assert Hold.objects.count() == 2
    assert len(server.asked) == 1
    # And once more, when it is known.
    assert order(api, {"file_id": file_id}).status_code == 201


def test_file_that_could_not_be_had_is_refused_with_the_reason(api, server):
    file_id = upload(api, server.url("/status?code=404")).json()["file_id"]
    fetch_and_verify()
    response = order(api, {"file_id": file_id})
    assert error_of(response) == (400, "url_not_found")
    assert response.json()["error"]["param"] == "file_id"


def test_file_of_a_url_is_a_strangers_to_others(api, stranger):
    file_id = upload(api, PUBLIC).json()["file_id"]
    assert error_of(order(stranger, {"file_id": file_id})) == (404, "file_not_found")


def test_file_that_nobody_orders_is_deleted(api, server):
    before = stored_files()
    file_id = upload(api, server.url("/talk.mp3")).json()["file_id"]
    fetch_and_verify()
    assert Upload.objects.get().state == UploadState.RECEIVED
    Upload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert error_of(order(api, {"file_id": file_id})) == (404, "file_not_found")
    assert expiry.expire(now=timezone.now()) == 1
    assert stored_files() == before
    assert expiry.expire(now=timezone.now()) == 0


def test_files_of_urls_without_a_job_are_limited(api, server, settings):
    first = upload(api, server.url("/talk.mp3")).json()["file_id"]
    settings.MAX_ORDERABLE_BYTES = 0
    fetch_and_verify()
    assert error_of(order(api, {"file_id": first})) == (400, "too_many_stored_files")
    settings.MAX_ORDERABLE_BYTES = 1
    third = upload(api, server.url("/whole")).json()["file_id"]
    fetch_and_verify()
    assert error_of(upload(api, server.url("/whole"))) == (409, "too_many_stored_files")
    # What has a job counts until its price is held.
    assert order(api, {"file_id": third}).status_code == 201
    fetch_and_verify()
    assert upload(api, server.url("/whole")).status_code == 201
