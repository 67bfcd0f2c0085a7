"""Result documents of batches, and the webhook of a job: whole, in order, signed, and small in memory."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from tests.conftest import AUDIO
from tests.transcription.factories import make_job, make_media, make_submission, make_transcript
from tests.transcription.webhooks.conftest import deliver_due, receiver  # noqa: F401 - a fixture
from transcription import jobs
from transcription.dialects.transcribeapi import results
from transcription.dialects.transcribeapi.wire import View
from transcription.models import Delivery, DeliveryState, Job, JobItem
from transcription.webhooks import schedule

pytestmark = pytest.mark.django_db(transaction=True)
SITE = "https://voxsite.example"


def batch(organization, count=3, **view):
    submission = make_submission(
        organization,
        dialect="transcribeapi",
        model="whisper-large-v3-turbo",
        answer_options=View(**view).to_dict(),
    )
    recordings = [make_media(organization, duration_ms=1_500) for _ in range(count)]
    job = jobs.submit_batch(submission, recordings=recordings, name=f"{count} files")
    for item in job.items.all():
        JobItem.objects.filter(pk=item.pk).update(reference=f"episode_{item.position}")
    return job


def finish(job, *, failing=()):
    for item in job.items.order_by("position"):
        claimed = jobs.claim(item.pk)
        if item.position in failing:
            jobs.reject_item(claimed, error_type="not_audio", message="No recording.")
        else:
            text = f"this is number {item.position}"
            jobs.finish_item(claimed, transcript=make_transcript(text, duration_ms=1_500))
    job.refresh_from_db()
    return job


def document(job):
    return json.loads(b"".join(results.batch_document(job)))


def test_batch_has_its_recordings_in_order(organization):
    job = finish(batch(organization))
    shown = document(job)
    assert (shown["status"], shown["total_files"], shown["completed_files"]) == ("completed", 3, 3)
    # Each recording is billed by its own started seconds.
    assert (shown["billed_seconds"], shown["cost"]) == (6, job.cost_micros / 1_000_000)
    assert [(file["reference_id"], file["text"]) for file in shown["files"]] == [
        (f"episode_{number}", f"this is number {number}") for number in range(3)
    ]
    assert sum(file["cost"] for file in shown["files"]) == pytest.approx(shown["cost"])


def test_lost_files_are_told_with_their_reason(organization):
    job = finish(batch(organization), failing={1})
    shown = document(job)
    assert (shown["status"], shown["job_status"]) == ("completed_with_errors", "completed")
    assert (shown["completed_files"], shown["failed_files"]) == (2, 1)
    assert shown["files"][1] == {
        "reference_id": "episode_1",
        "filename": "sentence-slt.wav",
        "status": "failed_unsupported_batch_format",
        "error": "No recording.",
        "error_type": "not_audio",
    }


def test_result_that_is_gone_is_told_by_its_file(organization):
    job = finish(batch(organization))
    default_storage.delete(job.items.get(position=0).result_key)
    first, second, _ = document(job)["files"]
    assert (first["status"], first["error_type"]) == ("failed_result_missing", "result_not_found")
    assert second["status"] == "completed"


def test_batch_is_never_a_bare_value(organization):
    """Every result stays with its reference."""
    excluded = frozenset({"vtt", "segments", "metadata", "billing", "detected_language"})
    shown = document(finish(batch(organization, 2, excluded=excluded)))
    assert shown["files"] == [
        {
            "reference_id": f"episode_{n}",
            "filename": "sentence-slt.wav",
            "status": "completed",
            "text": f"this is number {n}",
        }
        for n in range(2)
    ]
    assert "cost" not in shown


def test_batch_that_lost_all_files_failed(organization):
    job = finish(batch(organization), failing={0, 1, 2})
    shown = results.show_job(job, site_url=SITE, now=timezone.now())
    assert (shown["status"], shown["job_status"]) == ("failed_unsupported_batch_format", "failed")
    assert shown["failed_files"] == 3
    assert shown["error"] == "No recording."
    assert "result_url" not in shown


def test_running_batch_counts_its_files(organization):
    job = batch(organization)
    jobs.finish_item(jobs.claim(job.items.first().pk), transcript=make_transcript(duration_ms=1_500))
    job.refresh_from_db()
    shown = results.show_job(job, site_url=SITE, now=timezone.now())
    assert (shown["status"], shown["completed_files"], shown["total_files"]) == ("queued", 1, 3)


# --- Webhooks ------------------------------------------------------------------------------------------------------


def ordered(organization, url):
    from transcription.webhooks import targets

    return make_job(organization, dialect="transcribeapi", webhook=targets.read(url=url))


def test_webhook_as_documented(organization, receiver):  # noqa: F811
    job = ordered(organization, receiver.url("/whole"))
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    deliver_due()
    (asked,) = receiver.asked
    body = json.loads(asked.body)
    assert (body["type"], body["job_id"], body["status"]) == ("transcription.completed", str(job.pk), "completed")
    assert body["organization_id"] == str(organization.pk)
    # The README of the package has a receiver that decides by it whether to add funds.
    assert isinstance(body["remaining_balance"], float)
    url = body["result_url"]
    assert Client().get(url.removeprefix("http://localhost:8000")).json()["text"] == "hello"


def test_signature_is_checked_with_the_published_key(organization, receiver):  # noqa: F811
    job = ordered(organization, receiver.url("/whole"))
    jobs.cancel(job)
    deliver_due()
    (asked,) = receiver.asked
    assert json.loads(asked.body)["type"] == "transcription.failed"
    document = Client().get("/transcribeapi/.well-known/transcribeapi-webhook-keys.json").json()
    [published] = [one for one in document["keys"] if one["key_id"] == asked.headers["X-TranscribeAPI-Key-Id"]]
    signed = f"{asked.headers['X-TranscribeAPI-Timestamp']}.".encode() + asked.body
    raw = base64.urlsafe_b64decode(published["x"] + "=")
    public = Ed25519PublicKey.from_public_bytes(raw)
    public.verify(base64.b64decode(asked.headers["X-TranscribeAPI-Signature"]), signed)
    assert "webhook-signature" not in {name.lower() for name in asked.headers}


def test_log_shows_the_signature(organization, receiver):  # noqa: F811
    jobs.cancel(ordered(organization, receiver.url("/whole")))
    deliver_due()
    shown = Delivery.objects.get().attempts.get().request_headers
    assert shown["X-TranscribeAPI-Key-Id"] == "v1"


def test_webhook_that_fails_for_good_leaves_the_result_available(organization, receiver, key):  # noqa: F811
    job = ordered(organization, receiver.url("/status?code=500"))
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())

    def status():
        return Client().get(f"/transcribeapi/v1/transcribe/{job.pk}", headers={"X-API-Key": key}).json()["status"]

    deliver_due()
    assert status() == "completed"
    Delivery.objects.update(step=len(schedule.PAUSES), next_attempt_at=timezone.now())
    deliver_due()
    assert Delivery.objects.get().state == DeliveryState.FAILED
    assert status() == "result_available"


@pytest.mark.long
def test_webhook_of_a_call_that_waits(key, receiver, fake_engine):  # noqa: F811
    from tests.dialects.faces import working

    with working():
        answer = Client().post(
            "/transcribeapi/v1/transcribe",
            {
                "file": SimpleUploadedFile("talk.wav", (AUDIO / "sentence-slt.wav").read_bytes()),
                "webhook_url": receiver.url("/whole"),
            },
            headers={"X-API-Key": key},
        )
    assert answer.status_code == 200
    deliver_due()
    assert json.loads(receiver.asked[0].body)["job_id"] == answer.json()["job_id"] == str(Job.objects.get().pk)
