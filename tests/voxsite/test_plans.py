"""Walks every address that shows something, in a database with many jobs: no plan scans a big table, and no page asks
the database often. A new address is walked as soon as it is routed.
"""

import math
import time
import uuid
from datetime import date

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.db import connection, transaction
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from accounts import api_keys, links
from accounts.models import Organization, Scope, User
from billing import ledger_reader
from billing.models import EntryKind, TopUp
from script.benchmarks.measuring import filling
from tests.conftest import Api
from tests.voxsite import test_tenancy
from tests.voxsite.plans import big_tables, watching
from transcription.dialects.native import listing
from transcription.jobs import sharing
from transcription.models import Job
from voxsite.middleware import NOTED_SECONDS

JOBS, ORGANIZATIONS = 20_000, 200
MIN_ROWS = 10_000
MAX_QUERIES = 12
# Pages that still ask more often. No number may grow, and no page may be added.
MAX_QUERIES_OF = {"/billing/": 20, "/billing/payments/<uuid:topup_id>/refund/": 13}
# Other people's pages, which ask about the person who is signed in, and the sandbox of development.
FOREIGN = ("accounts/", "dev/")
# Streams that stay open, and answers that cost money.
NOT_ASKED = {"/v1/jobs/<str:job_id>/events", "/playground/stream/"}
# What the addresses of lists are asked besides. Words that most texts have are not searched: they are looked up by
# reading texts until 2,000 have them, or a second is over (`jobs.search`).
QUERIES = {
    "/transcripts/": ("status=running", "status=completed", "status=failed", "status=canceled", "before={old_job_id}"),
    "/transcripts/live/": ("id={job_id}&id={old_job_id}",),
    "/billing/ledger/": (
        "kind=payment",
        "kind=usage",
        "since=2020-01-01&until={day}",
        "since={day}&until={day}",
        "key={key_id}",
        "key=none",
        "model=premium",
        "model=no-such-model",
        "before=5000",
        "before=5000&model=premium",
        "tag=customer",
        "tag=customer&tag_value=no-such-value",
    ),
    "/requests/": ("q=/v1/jobs", "q=402", "q={job_id}", "q=req_1", "key={key_id}", "outcome=error", "before=5000"),
    "/billing/usage/": ("month={month}", "tag=customer"),
    "/webhooks/deliveries/": ("state=failed", "state=pending", "endpoint={endpoint_id}", "before={delivery_id}"),
    "/v1/jobs": (
        "limit=100",
        "offset=2000",
        "offset=3900",
        "status=completed",
        "status=failed",
        "status=processing",
        "created_after={day}",
        "created_before={day}",
        "cursor={cursor}",
        "q=xylophone",
        "q=nonsense",
        "q=xylophone&status=completed&offset=1",
    ),
    "/v1/usage": (
        "from={day}&to={day}",
        "group_by=day,model,key",
        "group_by=tag&tag=customer",
        "key_id={key_id}",
        "model=premium",
        "kind=chat",
    ),
}

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL has planners and plans")


@pytest.fixture(scope="module")
def many_jobs(django_db_setup, django_db_blocker):
    """A database with many jobs; all is rolled back after the last test here."""
    with django_db_blocker.unblock(), transaction.atomic():
        filling.fill(connection, jobs=JOBS, organizations=ORGANIZATIONS)
        filling.analyze(connection, vacuum=False)
        yield
        transaction.set_rollback(True)


@pytest.fixture
def tables(many_jobs, db):
    found = big_tables(min_rows=MIN_ROWS)
    assert {"transcription_job", "transcription_jobitem", "billing_entry", "billing_hold"} <= found
    return found


@pytest.fixture
def large(tables):
    """The organization of a fifth of all jobs."""
    return Organization.objects.get(name="Organization 0")


@pytest.fixture
def browser(large, client_of):
    return client_of(User.objects.get(memberships__organization=large))


@pytest.fixture
def program(large):
    return Api(api_keys.issue(large, name="walk", by=None, scopes=list(Scope))[1])


def addresses(resolver=None, prefix="", names=()):
    """Yield the path of each address that is the site's own, and the names of the objects in it."""
    for pattern in (resolver or get_resolver()).url_patterns:
        path, its_names = prefix + str(pattern.pattern), (*names, *getattr(pattern.pattern, "converters", ()))
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern, path, its_names)
        elif isinstance(pattern, URLPattern) and not path.startswith((*FOREIGN, "admin/")) and "(?" not in path:
            yield "/" + path.replace("^", ""), its_names


@pytest.fixture
def values(large):
    """What stands in addresses and queries, of the large organization."""
    jobs = Job.objects.of(large).newest_first()
    old = jobs[3000]
    key = large.api_keys.get(name="Key 0")
    endpoint = large.webhook_endpoints.get()
    completed = jobs.filter(status="completed")[0]
    link, share_token = sharing.share(completed.items.all()[0], days=1, has_audio=True, by=None, now=timezone.now())
    return {
        "organization_id": large.pk,
        "project_id": large.pk,
        "job_id": completed.pk,
        "old_job_id": old.pk,
        "cursor": listing.show_cursor(old),
        "endpoint_id": endpoint.pk,
        "delivery_id": endpoint.deliveries.order_by("created_at")[1000].pk,
        "format_name": "txt",
        "extension": "txt",
        "position": 0,
        "key_id": key.pk,
        "topup_id": TopUp.objects.get(organization=large).pk,
        "membership_id": large.memberships.get().pk,
        "invitation_id": uuid.uuid4(),
        "token_id": uuid.uuid4(),
        "link_id": link.pk,
        "share_token": share_token,
        "token": "no-such-token",
        "slug": "openai",
        "name": "none",
        "day": f"{old.created_at:%Y-%m-%d}",
        "month": f"{old.created_at:%Y-%m}",
    }


def asked(values):
    """Yield (address, query) of all that the site shows."""
    for path, names in addresses():
        unknown = set(names) - set(values)
        assert not unknown, f"Say in `values` what {unknown} of {path} is."
        address, path = test_tenancy.fill(path, values), path.replace(links.ROOT, "")
        if path in NOT_ASKED:
            continue
        for query in ("", *QUERIES.get(path, ())):
            yield path, f"{address}?{query.format(**values)}" if query else address


def note(browser, *, organization):
    """Do what the site does once a minute, which is not counted.

    A session is noted with three queries more, and models are looked up with one for each.
    """
    # Both now, so that none is due for a minute: of another browser, and of an organization that is not in the cache.
    browser.defaults["HTTP_USER_AGENT"] = f"walk {uuid.uuid4()}"
    cache.delete(f"billing:models:{organization.pk}")
    root = f"/{links.ROOT}".replace("<uuid:organization_id>", str(organization.pk))
    for page in ("playground/", "billing/ledger/"):
        assert browser.get(f"{root}{page}").status_code == 200


def test_no_plan_scans_a_big_table_and_no_page_asks_often(tables, values, large, browser, program):
    wrong, answered = [], set()
    noted_at = -math.inf
    for path, address in asked(values):
        if time.monotonic() - noted_at > NOTED_SECONDS / 2:
            note(browser, organization=large)
            noted_at = time.monotonic()
        is_api = path.startswith(test_tenancy.APIS)
        with watching(tables=tables) as watched:
            response = program.get(address) if is_api else browser.get(address)
        assert response.status_code < 500 or path.startswith("/health"), address
        if response.status_code == 200:
            answered.add(path)
        wrong += [f"{address} scans {table}: {sql}" for table, sql in watched.scans]
        if len(watched.statements) > MAX_QUERIES_OF.get(path, MAX_QUERIES):
            wrong.append(f"{address} makes {len(watched.statements)} queries: " + "\n  ".join(watched.statements))
    assert not wrong, "\n".join(wrong)
    assert set(QUERIES) <= answered


def test_file_of_the_ledger_scans_nothing_in_any_batch(tables, values, large):
    """The page streams it from a thread of its own, whose connection does not see what a test has not committed."""
    day = date.fromisoformat(values["day"])
    for only in (
        {},
        {"api_key_id": values["key_id"]},
        {"is_without_key": True},
        {"model": "premium"},
        {"kind": EntryKind.PAYMENT},
        {"since": day, "until": day},
        {"since": day, "model": "premium", "api_key_id": values["key_id"]},
    ):
        with watching(tables=tables) as watched:
            lines = "".join(ledger_reader.csv_lines(large, only=ledger_reader.Filter(**only), batch_size=100))
        assert lines.count("\n") > 1, only
        assert not watched.scans, only
        assert not watched.sorts, only


def test_search_of_operators_scans_no_big_table(tables, large, client_of):
    browser = client_of(User.objects.create_superuser("operator@example.com", "correct horse battery"))
    job = Job.objects.of(large).newest_first()[30]
    words = (str(job.pk), str(large.pk), f"job:{job.pk}", "call 77.wav", "Organization 7", "owner-7@", "no such thing")
    wrong = []
    for model, site in admin.site._registry.items():
        if model._meta.app_label not in {"accounts", "apex", "billing", "transcription"}:
            continue
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for word in ("", *words) if site.search_fields else ("",):
            with watching(tables=tables) as watched:
                response = browser.get(address, {"q": word} if word else {})
            assert response.status_code in (200, 302), (address, word)
            wrong += [f"{address}?q={word} scans {table}: {sql}" for table, sql in watched.scans]
    assert not wrong, "\n".join(wrong)
