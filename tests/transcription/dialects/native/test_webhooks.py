"""The webhook of a single job, as a program orders it: its fields, what it is told, and what is refused."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts import encryption
from tests.conftest import AUDIO
from tests.transcription.factories import make_transcript
from tests.transcription.webhooks.conftest import deliver_due, receiver  # noqa: F401 - a fixture
from transcription import jobs
from transcription.models import Delivery, Job
from transcription.webhooks import endpoints

pytestmark = pytest.mark.django_db
HEADER = {"webhook_auth_header_name": "X-Key", "webhook_auth_header_value": "secret"}


def test_program_is_told_of_the_end_of_its_job(api, receiver):  # noqa: F811
    answer = api.transcribe(webhook_url=receiver.url("/whole"), **HEADER)
    assert answer.status_code == 201
    job = Job.objects.get()
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    deliver_due()
    (asked,) = receiver.asked
    body = json.loads(asked.body)
    assert asked.headers["X-Key"] == "secret"
    assert body["type"] == "job.completed"
    shown = api.get(f"/v1/jobs/{job.pk}").json()
    assert shown.pop("webhook")["status"] == "delivered"
    assert {**body["data"], "result_url": shown["result_url"]} == shown
    assert body["data"]["result_url"].endswith(shown["result_url"])


def test_json_body_has_the_same_fields(api):
    file_id = api.post(
        "/v1/upload", {"file": SimpleUploadedFile("talk.wav", (AUDIO / "sentence-slt.wav").read_bytes())}
    ).json()["file_id"]
    answer = api.post(
        "/v1/transcribe",
        json.dumps({"file_id": file_id, "webhook_url": "https://example.com/hook", **HEADER}),
        content_type="application/json",
    )
    assert answer.status_code == 201
    job = Job.objects.get()
    assert (job.webhook_url, job.webhook_header_name) == ("https://example.com/hook", "X-Key")
    assert encryption.decrypt(job.webhook_header_value) == "secret"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"webhook_url": "http://127.0.0.1/"}, "webhook_url"),
        ({"webhook_url": "http://[::ffff:10.0.0.1]/"}, "webhook_url"),
        ({"webhook_url": "https://example.com:8443/"}, "webhook_url"),
        ({"webhook_url": "not a url"}, "webhook_url"),
        ({"webhook_url": "https://example.com/", "webhook_auth_header_name": "X-Key"}, "webhook_auth_header_value"),
        (
            {"webhook_url": "https://example.com/", **HEADER, "webhook_auth_header_name": "Host"},
            "webhook_auth_header_name",
        ),
        (HEADER, "webhook_url"),
    ],
)
def test_other_receiver_is_refused_before_anything_is_stored(api, fields, param):
    answer = api.transcribe(**fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not Job.objects.exists()


def test_secret_of_a_webhook_is_shown_nowhere(api):
    job_id = api.transcribe(webhook_url="https://example.com/", **HEADER).json()["job_id"]
    assert "secret" not in str(Job.objects.values().get())
    assert "secret" not in api.get(f"/v1/jobs/{job_id}").content.decode()


def test_job_says_what_became_of_its_webhook(api, receiver):  # noqa: F811
    def webhook():
        return api.get(f"/v1/jobs/{job.pk}").json()["webhook"]

    api.transcribe(webhook_url=receiver.url("/status?code=500"))
    job = Job.objects.get()
    none_yet = {"attempts": 0, "last_status": None, "delivered_at": None}
    assert webhook() == {"status": "pending", "next_attempt_at": None, **none_yet}
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    due = webhook()
    assert due.pop("next_attempt_at")
    assert due == {"status": "pending", **none_yet}
    deliver_due()
    failed_once = webhook()
    assert (failed_once["status"], failed_once["attempts"], failed_once["last_status"]) == ("pending", 1, 500)
    Delivery.objects.update(state="failed", next_attempt_at=None)
    assert webhook()["status"] == "failed"
    # The log is over.
    Delivery.objects.all().delete()
    assert webhook() is None


def test_job_without_a_webhook_says_nothing_of_endpoints(api, organization, receiver):  # noqa: F811
    endpoints.register(organization, url=receiver.url("/whole"), events=["job.canceled"])
    api.transcribe()
    job = Job.objects.get()
    canceled = api.post(f"/v1/jobs/{job.pk}/cancel").json()
    assert Delivery.objects.count() == 1
    assert "webhook" not in canceled | api.get(f"/v1/jobs/{job.pk}").json()
