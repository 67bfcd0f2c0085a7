"""Operators find a job, see why it failed, and cancel it or run it again."""

import pytest
from django.contrib.admin.utils import quote
from django.urls import reverse

from accounts.models import User
from billing import ledger, statements
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.models import Delivery, Job, JobItem, Media, Status, Upload, WebhookEndpoint
from transcription.recordings import uploads
from transcription.webhooks import endpoints, outbox


@pytest.fixture
def operator(db, client_of):
    return client_of(User.objects.create_superuser("operator@example.com", "correct horse battery"))


@pytest.fixture
def job(organization):
    return make_job(organization)


@pytest.fixture
def failed(organization):
    job = make_job(organization)
    item = jobs.claim(job.items.get().pk)
    jobs.reject_item(item, error_type="engine_failed", message="The engine broke.")
    job.refresh_from_db()
    return job


def address(model, *args, page="changelist"):
    # The admin takes an underscore with a number behind it, such as in msg_22, for an escaped character.
    return reverse(f"admin:transcription_{model._meta.model_name}_{page}", args=[quote(arg) for arg in args])


def act(client, action, *rows):
    page = client.post(
        address(type(rows[0])), {"action": action, "_selected_action": [row.pk for row in rows]}, follow=True
    )
    return [str(message) for message in page.context["messages"]]


@pytest.mark.long
def test_every_kind_of_row_is_listed_and_read(operator, organization, job):
    upload = uploads.begin(organization, name="call.wav", declared_bytes=1)
    endpoint = endpoints.register(organization, url="https://example.com/", events=["job.failed"])
    for row in (job, job.items.get(), Media.objects.get(), upload, endpoint, outbox.test(endpoint)):
        assert operator.get(address(type(row))).status_code == 200
        page = operator.get(address(type(row), row.pk, page="change"))
        assert page.status_code == 200
        assert b'name="_save"' not in page.content


def test_operator_does_not_read_the_secrets_of_receivers(operator, organization, job):
    header = {"header_name": "X-Key", "header_value": "secret"}
    row = endpoints.register(organization, url="https://example.com/", events=["job.failed"], **header)
    Job.objects.update(webhook_url=row.url, webhook_header_name="X-Key", webhook_header_value=row.header_value)
    for shown in (row, job):
        page = operator.get(address(type(shown), shown.pk, page="change")).content.decode()
        assert "X-Key" in page
        assert row.header_value not in page


@pytest.mark.long
@pytest.mark.parametrize("model", [Job, JobItem, Media, Upload, WebhookEndpoint, Delivery])
def test_nothing_is_added_by_hand(operator, model):
    assert operator.get(address(model, page="add")).status_code == 403


def test_job_shows_the_attempt_and_the_error_of_its_items(operator, failed):
    page = operator.get(address(Job, failed.pk, page="change")).content.decode()
    assert "engine_failed" in page
    assert "The engine broke." in page


@pytest.mark.long
@pytest.mark.parametrize("by", ["id", "organization", "name"])
def test_job_is_found(operator, job, charlies, by):
    make_job(charlies)
    sought = {"id": job.pk, "organization": job.organization_id, "name": "alice"}[by]
    page = operator.get(address(Job), {"q": str(sought)})
    assert list(page.context["cl"].queryset) == [job]


def test_operator_cancels_a_job_and_its_money_is_free(operator, job):
    assert act(operator, "cancel", job) == ["Canceled: 1."]
    job.refresh_from_db()
    assert job.status == Status.CANCELED
    assert statements.balance(job.organization).held_micros == 0


def test_ended_job_is_not_canceled(operator, failed):
    assert act(operator, "cancel", failed) == [f"{failed}: The job has already ended."]


def test_operator_runs_a_failed_job_again_as_a_new_one(operator, failed):
    assert act(operator, "run_again", failed) == ["Queued again: 1."]
    again = Job.objects.exclude(pk=failed.pk).get()
    assert (again.status, again.organization, again.name) == (Status.QUEUED, failed.organization, failed.name)
    assert again.items.get().media == failed.items.get().media
    assert statements.balance(failed.organization).held_micros == again.quoted_micros


@pytest.mark.long
def test_job_that_runs_or_succeeded_is_not_run_again(operator, job):
    assert act(operator, "run_again", job) == [f"{job}: The job has not ended."]
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    assert "failed or was canceled" in act(operator, "run_again", job)[0]
    assert Job.objects.count() == 1


def test_job_is_not_run_again_without_money(operator, failed):
    available = statements.balance(failed.organization).available_micros
    ledger.reserve(failed.organization, amount_micros=available, reference="all")
    assert act(operator, "run_again", failed)[0].startswith(f"{failed}: ")
    assert Job.objects.count() == 1
