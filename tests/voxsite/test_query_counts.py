"""No page asks the database more than twelve times, however much the account has."""

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import api_keys, organizations
from accounts.models import Membership, Role
from billing.models.payments import TopUpState
from tests.billing.stripe_objects import make_topup
from tests.transcription.factories import make_batch, make_job, make_transcript
from tests.voxsite.test_tenancy import METHODS, PAGES, addresses, fill
from transcription import jobs
from transcription.jobs import naming
from transcription.models import Job, JobItem
from transcription.webhooks import endpoints, outbox

MAX_QUERIES = 12
MANY_JOBS = 10_000
# Opened by visitors, or about the person and not an organization.
OTHER_PAGES = (
    "/",
    "/pricing/",
    "/docs/",
    "/docs/native/",
    "/docs/search.json",
    "/docs/from/deepgram/",
    "/status/",
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/2fa/",
    "/accounts/sessions/",
    "/accounts/delete/",
    "/accounts/mails/",
    "/organization/new/",
    "/organization/deleted/",
)


@pytest.fixture
def crowded(objects, organization, alice, stripe_sandbox) -> dict[str, Any]:
    """An account with 10,000 jobs, and some of everything else."""
    job = Job.objects.get(pk=objects["job_id"])
    item = job.items.get()
    for number in range(3):
        jobs.revise(item, edits=[jobs.Edit(0, number, f"hello {number}")], by=alice)
    naming.tag(organization, job_ids=[job.pk], name="legal")
    copies = [Job(**{**_fields(job), "id": uuid.uuid4()}) for _ in range(MANY_JOBS)]
    Job.objects.bulk_create(copies, batch_size=500)
    JobItem.objects.bulk_create(
        [JobItem(**{**_fields(item), "id": uuid.uuid4(), "job_id": copy.pk}) for copy in copies], batch_size=500
    )
    batch = make_batch(organization, 30)
    for one in batch.items.all():
        jobs.finish_item(jobs.claim(one.pk), transcript=make_transcript())
    for _ in range(3):
        make_job(organization)
    owner = Membership.objects.get(organization=organization, user=alice)
    endpoint = endpoints.register(organization, url="https://example.org/", events=["job.failed"])
    for number in range(5):
        api_keys.issue(organization, name=f"key {number}", by=alice)
        organizations.invite(organization, email=f"guest{number}@example.com", role=Role.MEMBER, by=owner)
        make_topup(organization, state=TopUpState.PAID, paid_at=timezone.now())
        outbox.test(endpoint)
    return objects | {"batch": batch}


def _fields(row):
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def count(client: Client, address: str) -> list[str]:
    """Return what a page asks when it is opened once more. Marks of transactions within the test's are no questions."""
    answer = client.get(address)
    assert answer.status_code in (200, 302), address
    with CaptureQueriesContext(connection) as queries:
        client.get(address)
    return [one["sql"] for one in queries if "SAVEPOINT" not in one["sql"]]


@pytest.mark.long
def test_no_page_asks_more_than_twelve_times(crowded, alice, organization, client_of):
    client = client_of(alice)
    pages = [
        fill(path, values)
        for path, values in addresses(crowded)
        if path.startswith(PAGES) and "get" in METHODS[path] and path != f"{PAGES}billing/top-up/<uuid:topup_id>/pay/"
    ]
    home = f"/o/{organization.pk}"
    batch = f"{home}/transcripts/{crowded['batch'].pk}/"
    pages += [batch, f"{batch}?item=2", f"{batch}?after=25", f"{home}/transcripts/?q=hello&sort=name&tag=legal"]
    pages += [f"{home}/transcripts/{crowded['job_id']}/?q=hello", f"{home}/transcripts/live/?newest=none", *OTHER_PAGES]
    asked = {address: count(client, address) for address in pages}
    too_many = {address: queries for address, queries in asked.items() if len(queries) > MAX_QUERIES}
    shown = "\n".join("\n  ".join([f"{len(queries)} {address}", *queries]) for address, queries in too_many.items())
    assert not too_many, shown
