"""What is written down to be told: of jobs and of other events, to whom, and only if it happened."""

import json

import pytest
from django.conf import settings as site
from django.db import transaction
from django.utils import timezone

from tests.transcription.factories import make_batch, make_job, make_media, make_submission, make_transcript
from tests.transcription.webhooks.conftest import only_delivery
from transcription import jobs
from transcription.models import Delivery, EventType
from transcription.webhooks import endpoints, outbox, targets

pytestmark = pytest.mark.django_db
EVERYTHING = [str(event) for event in endpoints.EVENTS]


@pytest.fixture
def endpoint(organization):
    return endpoints.register(organization, url="https://example.com/hook", events=EVERYTHING)


def complete(job):
    for item in job.items.all():
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript())
    job.refresh_from_db()


def told():
    return list(Delivery.objects.order_by("url").values_list("url", "event"))


def test_completed_job_is_told_with_everything_but_its_text(organization, endpoint):
    job = make_job(organization, metadata={"order": "7"})
    assert not Delivery.objects.exists()
    complete(job)
    delivery = only_delivery()
    assert (delivery.endpoint, delivery.job, delivery.event) == (endpoint, job, "job.completed")
    assert delivery.host == "example.com:443"
    body = json.loads(delivery.body)
    assert body["type"] == "job.completed"
    assert body["organization_id"] == str(organization.pk)
    assert body["data"]["id"] == str(job.pk)
    assert body["data"]["status"] == "completed"
    assert body["data"]["metadata"] == {"order": "7"}
    assert body["data"]["result_url"] == f"{site.SITE_URL}/v1/jobs/{job.pk}/result"
    assert "hello" not in delivery.body


def test_failed_job_is_told_with_its_error(organization, endpoint):
    job = make_job(organization)
    jobs.reject_item(jobs.claim(job.items.get().pk), error_type="invalid_audio", message="It is broken.")
    body = json.loads(only_delivery().body)
    assert body["type"] == "job.failed"
    assert body["data"]["error"]["message"] == "It is broken."
    assert "result_url" not in body["data"]


def test_canceled_job_is_told(organization, endpoint):
    jobs.cancel(make_job(organization))
    assert told() == [("https://example.com/hook", "job.canceled")]


def test_batch_is_told_once_at_its_end(organization, endpoint):
    job = make_batch(organization, 3)
    complete(job)
    assert told() == [("https://example.com/hook", "job.completed")]


def test_batch_that_lost_some_files_is_completed(organization, endpoint):
    job = make_batch(organization, 2)
    first, second = job.items.all()
    jobs.reject_item(jobs.claim(first.pk), error_type="invalid_audio", message="It is broken.")
    jobs.finish_item(jobs.claim(second.pk), transcript=make_transcript())
    assert told() == [("https://example.com/hook", "job.completed")]


def test_job_tells_its_own_webhook_besides_the_endpoints(organization, endpoint):
    target = targets.read(url="https://other.example/job")
    complete(jobs.submit(make_submission(organization, webhook=target), media=make_media(organization)))
    assert told() == [("https://example.com/hook", "job.completed"), ("https://other.example/job", "job.completed")]


def test_webhook_of_a_job_is_kept_when_the_job_is_run_again(organization):
    target = targets.read(url="https://other.example/job", header_name="X-Key", header_value="secret")
    job = jobs.submit(make_submission(organization, webhook=target), media=make_media(organization))
    jobs.cancel(job)
    job.refresh_from_db()
    assert targets.of(jobs.run_again(job)) == target


def test_endpoint_gets_only_what_it_is_registered_for(organization):
    endpoints.register(organization, url="https://example.com/failed", events=["job.failed"])
    complete(make_job(organization))
    assert told() == []


def test_endpoint_that_is_off_gets_nothing(organization, endpoint):
    endpoints.turn_off(endpoint.pk, now=timezone.now())
    complete(make_job(organization))
    assert told() == []


def test_stranger_gets_nothing(organization, charlies):
    endpoints.register(charlies, url="https://example.com/strange", events=EVERYTHING)
    complete(make_job(organization))
    assert told() == []


def test_job_whose_end_is_undone_is_not_told(organization, endpoint):
    job = make_job(organization)
    with transaction.atomic():
        jobs.cancel(job)
        transaction.set_rollback(True)
    assert told() == []


def test_deleted_job_leaves_no_delivery(organization, endpoint):
    job = make_job(organization)
    complete(job)
    jobs.delete(job)
    assert told() == []


def test_other_event_is_told_in_the_same_form(organization, endpoint):
    at = timezone.now()
    outbox.announce(organization.pk, event=EventType.BALANCE_LOW, at=at, data={"available_micros": 7})
    delivery = only_delivery()
    assert delivery.job is None
    body = json.loads(delivery.body)
    assert (body["type"], body["data"]) == ("balance.low", {"available_micros": 7})


def test_test_is_sent_to_an_endpoint_whatever_it_is_registered_for(organization):
    endpoint = endpoints.register(organization, url="https://example.com/hook", events=["balance.low"])
    delivery = outbox.test(endpoint)
    assert json.loads(delivery.body)["type"] == "webhook.test"
    assert delivery.next_attempt_at is not None
