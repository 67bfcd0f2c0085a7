"""The text that Prometheus reads, parsed by Prometheus's own package, from a site with real rows."""

import json
import re
from datetime import timedelta

import pytest
import yaml
from django.conf import settings as site_settings
from django.urls import path
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apex import upstream
from tests.fixtures import recordings
from tests.transcription.factories import make_job, make_media, make_submission
from transcription import jobs
from transcription.jobs import work
from transcription.models import JobItem
from voxsite import health, metrics, request_metrics

SENTENCE = recordings.named("sentence-slt.wav")
TOKEN = "prometheus-" + "x" * 30
MONITORING = site_settings.BASE_DIR / "docs/monitoring"


@pytest.fixture
def scrape(client, settings, db):
    settings.METRICS_TOKEN = TOKEN
    # Without the engine, for which a check waits for seconds.
    readiness = health.CachedChecks({"database": health._database, "redis": health._redis})
    parts = [part for part in metrics.PARTS if part != "engines"]
    settings.ROOT_URLCONF = (path("metrics", metrics.metrics, {"readiness": readiness, "parts": parts}),)

    def values():
        response = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert response.status_code == 200
        assert response["Cache-Control"] == "no-store"
        samples = [s for family in text_string_to_metric_families(response.text) for s in family.samples]
        return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in samples}

    return values


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong é"}])
def test_nobody_else_finds_the_address(client, settings, db, token, header):
    settings.METRICS_TOKEN = token
    assert client.get("/metrics", headers=header).status_code == 404


@pytest.fixture
def order(organization, django_capture_on_commit_callbacks):
    """Makes a job of which the workers are told."""

    def make():
        with django_capture_on_commit_callbacks(execute=True):
            return make_job(organization)

    return make


@pytest.mark.long
def test_work_and_money_of_the_site_are_told(scrape, order):
    waiting, running = order(), order()
    assert jobs.claim(running.items.get().pk)
    found = scrape()
    assert found["voxsite_items", "processing"] == 1
    assert found["voxsite_queue_length", "standard"] == 2
    assert found["voxsite_holds_open",] == 2
    assert found["voxsite_held_micros",] == found["voxsite_spent_this_month_micros",]
    assert found["voxsite_held_micros",] > 0
    jobs.cancel(waiting)
    assert scrape()["voxsite_holds_open",] == 1


@pytest.mark.long
def test_wait_of_a_queue_is_that_of_its_first_task(scrape, order, time_machine):
    assert scrape()["voxsite_queue_wait_seconds", "standard"] == 0
    now = timezone.now()
    time_machine.move_to(now - timedelta(seconds=90), tick=False)
    order()
    time_machine.move_to(now, tick=False)
    order()
    assert scrape()["voxsite_queue_wait_seconds", "standard"] == 90


@pytest.mark.long
def test_item_of_a_dead_worker_is_nobodys_work(scrape, organization):
    job = make_job(organization)
    assert jobs.claim(job.items.get().pk)
    JobItem.objects.update(touched_at=timezone.now() - timedelta(minutes=5))
    assert scrape()["voxsite_items", "processing"] == 0


def test_part_that_is_away_hides_no_other(scrape, organization, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    found = scrape()
    assert found["voxsite_scrape_errors", "heartbeats"] == 1
    assert ("voxsite_heartbeat_age_seconds", "clock") not in found
    assert found["voxsite_scrape_errors", "money"] == 0
    assert found["voxsite_holds_open",] == 0
    assert found["voxsite_up", "redis"] == 0
    assert found["voxsite_up", "database"] == 1


@pytest.mark.long
@pytest.mark.parametrize("name", ["alerts.yml", "dashboard.json"])
def test_rules_and_dashboard_ask_for_metrics_that_there_are(scrape, name):
    upstream.ATTEMPTS.labels("test", "answered").inc(0)
    upstream.SECONDS.labels("test")
    request_metrics.SECONDS.labels("test")
    request_metrics.REQUESTS.labels("test", "GET", "200").inc(0)
    known = {name for name, *_ in scrape()}
    text = (MONITORING / name).read_text()
    if name.endswith("yml"):
        asked = [rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    else:
        asked = [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
    named = set(re.findall(r"\b(?:voxsite|process)_\w+", " ".join(asked)))
    # What a process that has no heartbeat yet does not tell.
    assert named - known <= {"voxsite_heartbeat_age_seconds"}
    assert len(asked) >= 9


def test_engine_tells_how_much_it_has_heard_and_a_silent_one_nothing(fake_engine, organization, settings):
    media = make_media(organization, content=SENTENCE.path.read_bytes(), duration_ms=SENTENCE.duration_ms)
    work.run_item(jobs.submit(make_submission(organization), media=media).items.get().pk)
    settings.ENGINE_SOCKETS = [*settings.ENGINE_SOCKETS, f"ipc://{settings.DATA_DIR}/nobody.sock"]
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics.SiteCollector(health.READINESS, parts=["engines"]).collect()
        for sample in family.samples
    }
    assert found["voxsite_engine_clips_total", "1"] > 0
    assert 0 < found["voxsite_engine_audio_seconds_total", "1"] <= 1 + SENTENCE.duration_ms / 1000
    assert found["voxsite_engine_queue_length", "1"] == 0
    assert ("voxsite_engine_clips_total", "2") not in found
    assert found["voxsite_scrape_errors", "engines"] == 0
