"""The page of operators."""

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import path

from accounts.models import User
from tests.transcription.factories import make_job
from transcription import jobs
from transcription.jobs import intake
from transcription.models import IntakePause
from voxsite import health, ops, urls

ADDRESS = "/ops/"
MAX_QUERIES = 12


@pytest.fixture(autouse=True)
def readiness(settings):
    """Without the engine, for which a check waits for seconds."""
    checks = health.CachedChecks({"database": health._database, "redis": health._redis})
    settings.ROOT_URLCONF = (path("ops/", ops.overview, {"readiness": checks}, name="ops"), *urls.urlpatterns)


def operator(name, *permissions):
    user = User.objects.create_user(f"{name}@example.com", "correct horse battery", is_staff=True)
    codes = [permission.partition(".")[2] for permission in permissions]
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="transcription", codename__in=codes))
    return user


@pytest.fixture
def acting(django_capture_on_commit_callbacks):
    """Presses a button."""

    def press(who, **fields):
        with django_capture_on_commit_callbacks(execute=True):
            return who.post(ADDRESS, fields)

    return press


@pytest.fixture
def fix_things(db, client_of):
    return client_of(operator("fixer", ops.MAY_LOOK, ops.MAY_ACT))


def test_others_see_and_do_nothing(db, client, client_of, alice):
    assert client.get(ADDRESS).status_code == 302
    assert client_of(alice).get(ADDRESS).status_code == 302
    assert client_of(operator("newcomer")).get(ADDRESS).status_code == 403
    looks_on = client_of(operator("onlooker", ops.MAY_LOOK))
    assert "Pause intake" not in looks_on.get(ADDRESS).content.decode()
    for who in (client, client_of(alice), looks_on):
        who.post(ADDRESS, {"action": "pause"})
    assert not intake.is_paused()


def test_failures_queues_and_money_are_seen_with_few_queries(fix_things, organization):
    failed = make_job(organization)
    jobs.reject_item(jobs.claim(failed.items.get().pk), error_type="engine_failed", message="The engine broke.")
    pages = []
    fix_things.get(ADDRESS)  # notes the session
    cache.delete("intake:is-paused")
    for address in (ADDRESS, f"{ADDRESS}?of=money"):
        with CaptureQueriesContext(connection) as queries:
            pages.append(fix_things.get(address).content.decode())
        assert len(queries) <= MAX_QUERIES, "\n".join(query["sql"][:90] for query in queries)
    work, money = pages
    assert str(failed.pk) in work
    assert "engine_failed" in work
    assert "Tasks that wait in this queue." in work
    assert "No worker runs." in work
    assert "Holds that have not ended." in money
    assert "Webhooks that failed last" in money


def test_pause_refuses_what_is_new_and_lets_the_rest_go_on(fix_things, organization, acting):
    before = make_job(organization)
    acting(fix_things, action="pause", reason="a new disk")
    page = fix_things.get(ADDRESS).content.decode()
    assert "a new disk" in page
    assert "fixer@example.com" in page
    with pytest.raises(intake.NoRoom) as refusal:
        make_job(organization)
    assert refusal.value.headers == {"Retry-After": "60"}
    assert jobs.claim(before.items.get().pk) is not None
    # A restart of Redis does not end it.
    cache.clear()
    assert intake.is_paused()
    acting(fix_things, action="resume")
    make_job(organization)
    (row,) = IntakePause.objects.all()
    assert (row.begun_by.email, row.ended_by.email) == ("fixer@example.com", "fixer@example.com")


def test_lost_work_is_queued_again_on_request(fix_things, organization):
    answer = fix_things.post(ADDRESS, {"action": "reconcile"}, follow=True)
    assert "No recording was lost." in answer.content.decode()
    assert fix_things.post(ADDRESS, {"action": "anything"}).status_code == 403
