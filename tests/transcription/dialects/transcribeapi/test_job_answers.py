"""The address of a TranscribeAPI job, and the signed address of its result."""

from datetime import timedelta

import pytest
import time_machine
from django.core.files.storage import FileSystemStorage, default_storage
from django.test import Client
from django.utils import timezone

from accounts import api_keys
from tests.transcription.dialects.transcribeapi.calling import BASE, code, document_of
from tests.transcription.downloads import cut
from tests.transcription.factories import make_batch, make_job, make_transcript
from transcription import jobs
from transcription.jobs import archives
from transcription.models import Delivery, Job, WebhookEndpoint
from transcription.webhooks import delivery

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fake_engine")]


def finished(organization, **fields):
    job = make_job(organization, dialect="transcribeapi", model="whisper-large-v3-turbo", **fields)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript("hello there"))
    job.refresh_from_db()
    return job


def test_completed_job(call, organization):
    job = finished(organization)
    shown = call("get", f"/transcribe/{job.pk}").json()
    assert (shown["status"], shown["job_status"]) == ("completed", "completed")
    assert (shown["billed_seconds"], shown["cost"]) == (10, job.cost_micros / 1_000_000)
    assert isinstance(shown["remaining_balance"], float)
    assert shown["total_files"] == shown["completed_files"] == 1
    assert timedelta(days=6) < _time(shown["expires_at"]) - timezone.now() < timedelta(days=8)


def _time(text):
    from datetime import datetime

    return datetime.fromisoformat(text)


def test_result_is_read_at_its_signed_address_without_a_key(call, organization):
    job = finished(organization, answer_options={"excluded": ["vtt"], "granularity": "word", "reference": "r"})
    url = call("get", f"/transcribe/{job.pk}").json()["result_url"]
    response = Client().get(url.partition("localhost:8000")[2] or url)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["text"], answer["reference_id"], answer["cost"]) == ("hello there", "r", job.cost_micros / 1_000_000)
    assert "vtt" not in answer
    assert call("get", f"/transcribe/{job.pk}/result").json()["text"] == "hello there"


@pytest.mark.parametrize("change", [("signature=", "signature=0"), ("expires=", "expires=9"), ("?", "?a=b&")])
def test_changed_address_opens_nothing(call, organization, change):
    job = finished(organization)
    url = call("get", f"/transcribe/{job.pk}").json()["result_url"].partition("localhost:8000")[2]
    assert code(Client().get(url.replace(*change))) == (403, "forbidden")
    other = finished(organization)
    assert code(Client().get(url.replace(str(job.pk), str(other.pk)))) == (403, "forbidden")
    assert code(Client().get(f"{BASE}/results/{job.pk}")) == (403, "forbidden")


def test_address_ends_after_7_days(call, organization):
    job = finished(organization)
    url = call("get", f"/transcribe/{job.pk}").json()["result_url"].partition("localhost:8000")[2]
    with time_machine.travel(timezone.now() + timedelta(days=6, hours=23), tick=False):
        assert Client().get(url).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(days=7, minutes=1), tick=False):
        assert code(Client().get(url)) == (403, "result_expired")


def test_deleted_job_has_no_result(call, organization):
    job = finished(organization)
    url = call("get", f"/transcribe/{job.pk}").json()["result_url"].partition("localhost:8000")[2]
    jobs.delete(job)
    assert code(Client().get(url)) == (404, "job_not_found")


def test_result_before_the_end(call, organization):
    job = make_job(organization)
    response = call("get", f"/transcribe/{job.pk}/result")
    assert code(response) == (409, "result_not_available")
    assert (response.json()["status"], response.json()["job_status"]) == ("queued", "queued")


def test_result_that_is_gone_from_storage(call, organization):
    job = finished(organization)
    default_storage.delete(job.items.get().result_key)
    shown = call("get", f"/transcribe/{job.pk}").json()
    assert (shown["status"], shown["job_status"]) == ("failed_result_missing", "failed")
    assert "result_url" not in shown
    assert code(call("get", f"/transcribe/{job.pk}/result")) == (409, "result_not_available")


@pytest.mark.parametrize("state", ["pending", "delivered", "failed"])
def test_webhook_that_was_given_up_is_told(call, organization, state):
    job = finished(organization)
    Job.objects.update(webhook_url="https://example.com/hook")
    Delivery.objects.create(
        organization=organization,
        job=job,
        event="job.completed",
        url="https://example.com/hook",
        host="example.com:443",
        body="{}",
        state=state,
        next_attempt_at=timezone.now() if state == "pending" else None,
        delivered_at=timezone.now() if state == "delivered" else None,
    )
    shown = call("get", f"/transcribe/{job.pk}").json()
    assert shown["status"] == ("result_available" if state == "failed" else "completed")
    assert shown["job_status"] == "completed"
    assert shown["result_url"]
    # The status is a final one. It stays when the log of webhooks is over.
    delivery.sweep(now=timezone.now() + timedelta(days=31), older_than=timedelta(days=30))
    assert Delivery.objects.exists() == (state == "pending")
    assert call("get", f"/transcribe/{job.pk}").json()["status"] == shown["status"]


def test_webhook_of_a_batch_that_lost_a_file_was_given_up(call, organization):
    job = make_batch(organization, 2)
    first, second = job.items.all()
    jobs.finish_item(jobs.claim(first.pk), transcript=make_transcript("hello there"))
    jobs.reject_item(jobs.claim(second.pk), error_type="not_audio", message="No audio.")
    Job.objects.update(webhook_url="https://example.com/hook", webhook_was_lost=True)
    shown = call("get", f"/transcribe/{job.pk}").json()
    assert (shown["status"], shown["job_status"]) == ("result_available_with_errors", "completed")
    assert shown["result_url"]


def test_webhook_to_a_registered_address_says_nothing_of_a_job(call, organization):
    """Its receiver is another one than that of the job."""
    job = finished(organization)
    endpoint = WebhookEndpoint.objects.create(organization=organization, url="https://example.com/all", events=[])
    Delivery.objects.create(
        organization=organization,
        job=job,
        endpoint=endpoint,
        event="job.completed",
        url=endpoint.url,
        host="example.com:443",
        body="{}",
        state="failed",
    )
    Job.objects.update(webhook_url="https://example.com/hook")
    delivery.sweep(now=timezone.now() + timedelta(days=31), older_than=timedelta(days=30))
    assert call("get", f"/transcribe/{job.pk}").json()["status"] == "completed"


@pytest.fixture
def batch_that_goes(organization):
    """A completed batch that is deleted after its retrieval."""
    job = make_batch(organization, 2)
    Job.objects.filter(pk=job.pk).update(deletes_after_retrieval=True)
    for item in job.items.all():
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript("hello there"))
    job.refresh_from_db()
    return job


@pytest.mark.parametrize("is_signed", [True, False])
def test_result_of_a_batch_that_leaves_here_is_a_retrieval(call, batch_that_goes, is_signed):
    assert batch_that_goes.delete_at is None
    if is_signed:
        url = call("get", f"/transcribe/{batch_that_goes.pk}").json()["result_url"]
        response = Client().get(url.partition("localhost:8000")[2])
    else:
        response = call("get", f"/transcribe/{batch_that_goes.pk}/result")
    assert [file["text"] for file in document_of(response)["files"]] == ["hello there"] * 2
    batch_that_goes.refresh_from_db()
    assert batch_that_goes.delete_at > timezone.now()


def test_result_of_a_batch_that_breaks_off_is_no_retrieval(call, batch_that_goes):
    assert cut(call("get", f"/transcribe/{batch_that_goes.pk}/result"))
    batch_that_goes.refresh_from_db()
    assert batch_that_goes.delete_at is None


def test_headers_of_the_result_of_a_batch_are_no_retrieval_and_read_no_transcript(call, batch_that_goes, monkeypatch):
    monkeypatch.setattr(archives, "transcript_of_item", lambda item: pytest.fail("a transcript was read"))
    response = call("head", f"/transcribe/{batch_that_goes.pk}/result")
    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert not response.getvalue()
    batch_that_goes.refresh_from_db()
    assert batch_that_goes.delete_at is None


def test_canceled_job_ends_polling(call, organization):
    job = make_job(organization)
    jobs.cancel(job)
    shown = call("get", f"/transcribe/{job.pk}").json()
    assert (shown["status"], shown["job_status"], shown["cost"]) == ("failed_canceled", "failed", 0)
    assert shown["error"]


def test_job_of_a_stranger_is_not_there(organization, charlies):
    job = finished(organization)
    stranger = api_keys.issue(charlies, name="calls", by=None)[1]
    for path in (f"/transcribe/{job.pk}", f"/transcribe/{job.pk}/result", "/transcribe/nonsense"):
        response = Client().get(f"{BASE}{path}", headers={"X-API-Key": stranger})
        assert code(response) == (404, "job_not_found")


def test_polling_survives_a_storage_that_does_not_answer(call, organization, settings, caplog):
    job = finished(organization)
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"{__name__}.DeadStorage"}}
    shown = call("get", f"/transcribe/{job.pk}")
    assert (shown.status_code, shown.json()["job_status"]) == (200, "completed")
    assert "does not say" in caplog.text


class DeadStorage(FileSystemStorage):
    def exists(self, name):
        raise ConnectionError
