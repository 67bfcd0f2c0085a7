"""Which token ordered a job: in the job, in lists, in events and in webhooks, for the server that made the token."""

import asyncio
import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import api_keys, tokens
from accounts.models import ApiKey, Scope
from tests.asgi_stream import AsgiStream
from tests.conftest import Api
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.models import Delivery
from transcription.webhooks import endpoints


@pytest.fixture
def key_row(organization, api):
    return ApiKey.objects.get(organization=organization)


def token_of(key_row):
    return tokens.issue(
        key_row,
        name="visitor",
        scopes=[Scope.TRANSCRIBE, Scope.READ],
        lifetime=timedelta(minutes=5),
        spend_limit_micros=1_000_000,
    )


@pytest.mark.django_db
def test_server_sees_which_token_ordered_a_job(organization, api, key_row):
    row, secret = token_of(key_row)
    job = make_job(organization, api_key=row)
    shown = api.get(f"/v1/jobs/{job.pk}").json()
    assert shown["token_id"] == str(row.pk)
    assert api.get("/v1/jobs").json()["jobs"][0]["token_id"] == str(row.pk)
    assert Api(secret).get(f"/v1/jobs/{job.pk}").json()["token_id"] == str(row.pk)
    assert api.post(f"/v1/jobs/{job.pk}/cancel").json()["token_id"] == str(row.pk)


@pytest.mark.django_db
def test_job_of_a_key_or_a_person_or_a_deleted_token_names_none(organization, api, key_row):
    of_key, of_person = make_job(organization, api_key=key_row), make_job(organization)
    row, _ = token_of(key_row)
    of_deleted = make_job(organization, api_key=row)
    jobs.cancel(of_deleted)
    ApiKey.objects.filter(pk=row.pk).delete()
    for job in (of_key, of_person, of_deleted):
        assert api.get(f"/v1/jobs/{job.pk}").json()["token_id"] is None


@pytest.mark.django_db
def test_webhook_names_the_token(organization, key_row):
    endpoints.register(organization, url="https://example.com/hook", events=["job.completed"])
    row, _ = token_of(key_row)
    job = make_job(organization, api_key=row)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    assert json.loads(Delivery.objects.get().body)["data"]["token_id"] == str(row.pk)


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("query", ["", "?offset=1", "?q=recording"])
def test_list_asks_for_no_key_by_itself(organization, api, key_row, query):
    def queries_of_a_list(count):
        for _ in range(count):
            make_job(organization, api_key=token_of(key_row)[0])
        with CaptureQueriesContext(connection) as captured:
            api.get(f"/v1/jobs{query}")
        return len(captured)

    queries_of_a_list(1)  # the first request of a key writes when it was used
    assert queries_of_a_list(3) == queries_of_a_list(6)


@pytest.mark.django_db(transaction=True)
def test_end_of_a_stream_of_events_names_the_token(organization):
    row, secret = token_of(api_keys.issue(organization, name="server", by=None)[0])
    job = make_job(organization, api_key=row)
    jobs.cancel(job)

    async def act():
        stream = AsgiStream(f"/v1/jobs/{job.pk}/events", key=secret)
        await stream.end()
        return stream

    stream = asyncio.run(act())
    assert stream.status == 200
    assert f'"token_id": "{row.pk}"'.encode() in stream.received
