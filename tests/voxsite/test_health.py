import threading
import time

import pytest
from django.urls import path

from tests.transcription.speech import fakes
from transcription import recognition
from transcription.speech.engines.choice import WHISPER, Choice
from transcription.speech.engines.model_cache import ModelCache
from voxsite import health


@pytest.fixture(autouse=True)
def fresh_look(redis_of_tests, clean_redis, settings):
    health.READINESS.forget()
    for key in settings.HEARTBEAT_KEYS.values():
        redis_of_tests.set(key, time.time())


@pytest.mark.long
def test_part_that_hangs_has_failed_and_is_asked_once():
    may_end, looks = threading.Event(), []

    def hang():
        looks.append(1)
        may_end.wait(60)

    checks = health.CachedChecks({"database": hang, "redis": lambda: None})
    for seconds in (0, 10, 20):
        assert checks.outcomes(clock=lambda seconds=seconds: seconds) == {"database": "failed", "redis": "ok"}
    assert len(looks) == 1
    may_end.set()
    assert checks.outcomes(clock=lambda: 30) == {"database": "ok", "redis": "ok"}


@pytest.mark.long
@pytest.mark.parametrize(("kind", "part"), [("worker", "workers"), ("clock", "clock")])
@pytest.mark.parametrize("age_seconds", [None, 60])
def test_frozen_processes_are_seen(client, db, engine, settings, redis_of_tests, kind, part, age_seconds):
    if age_seconds is None:
        redis_of_tests.delete(settings.HEARTBEAT_KEYS[kind])
    else:
        redis_of_tests.set(settings.HEARTBEAT_KEYS[kind], time.time() - age_seconds)
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert [name for name, outcome in response.json()["checks"].items() if outcome != "ok"] == [part]
    serving = client.get("/health/serving")
    assert (serving.status_code, serving.json()["checks"]) == (200, response.json()["checks"])


@pytest.mark.parametrize(
    ("part", "bucket", "status"),
    [
        ("database", "", 503),
        ("storage", "", 503),
        ("storage", "bucket", 200),
        ("redis", "", 200),
        ("engine", "", 200),
        ("workers", "", 200),
        ("clock", "", 200),
    ],
)
def test_host_stays_in_the_load_balancer_unless_it_cannot_serve(client, db, settings, part, bucket, status):
    def fail():
        raise TimeoutError(part)

    names = ("database", "redis", "storage", "engine", "workers", "clock")
    checks = health.CachedChecks({name: fail if name == part else lambda: None for name in names})
    views = {"health/ready": health.ReadyView, "health/serving": health.ServingView}
    settings.ROOT_URLCONF = tuple(path(name, view.as_view(readiness=checks)) for name, view in views.items())
    settings.S3_BUCKET = bucket
    response = client.get("/health/serving")
    assert response.status_code == status
    assert response.json()["status"] == ("ok" if status == 200 else "unavailable")
    assert response.json()["checks"] == {**dict.fromkeys(names, "ok"), part: "failed"}
    assert client.get("/health/ready").status_code == 503


def test_outcome_is_cached_for_a_few_seconds():
    looks = []
    checks = health.CachedChecks({"database": lambda: looks.append(1)})
    for seconds in (0, 0, 0, health.CACHE_SECONDS - 0.1):
        assert checks.outcomes(clock=lambda seconds=seconds: 1000 + seconds) == {"database": "ok"}
    assert len(looks) == 1
    checks.outcomes(clock=lambda: 1000 + health.CACHE_SECONDS)
    assert len(looks) == 2


def test_engine_that_computes_is_what_it_was():
    may_end = threading.Event()
    may_end.set()
    busy_seconds = {"engine": 60.0}
    checks = health.CachedChecks({"engine": lambda: may_end.wait(60)}, check_seconds=0.05, busy_seconds=busy_seconds)
    assert checks.outcomes(clock=lambda: 0) == {"engine": "ok"}
    may_end.clear()
    assert checks.outcomes(clock=lambda: 10) == {"engine": "ok"}
    busy_seconds["engine"] = 0.0
    assert checks.outcomes(clock=lambda: 20) == {"engine": "failed"}
    may_end.set()


def test_health_asks_nothing(client, db):
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["X-Request-Id"]


@pytest.mark.long
def test_ready_names_the_part_that_fails(client, db, settings):
    settings.ENGINE_SOCKETS = [f"ipc://{settings.DATA_DIR}/nobody.sock"]
    response = client.get("/health/ready")
    assert response.status_code == 503
    parts = dict.fromkeys(("database", "redis", "storage", "workers", "clock"), "ok")
    assert response.json()["checks"] == {**parts, "engine": "failed"}


@pytest.mark.slow
def test_unready_site_mails_nobody(client, db, settings, mailoutbox):
    """A load balancer asks every few seconds."""
    settings.ADMINS = [("Operator", "operator@example.com")]
    settings.ENGINE_SOCKETS = [f"ipc://{settings.DATA_DIR}/nobody.sock"]
    assert client.get("/health/ready").status_code == 503
    assert mailoutbox == []


@pytest.mark.long
def test_ready_with_everything(client, db, engine):
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (200, "ok")


@pytest.mark.long
def test_ready_asks_every_engine_of_the_host(client, db, engine, settings):
    """One of two GPUs that hangs halves what the host can do: it must be seen."""
    settings.ENGINE_SOCKETS = [engine, f"ipc://{settings.DATA_DIR}/nobody.sock"]
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["checks"]["engine"]) == (503, "failed")


def test_engine_that_still_downloads_is_not_ready_and_says_so(client, db, settings, tmp_path, caplog):
    may_end = threading.Event()

    def load(source):
        assert may_end.wait(60)
        return fakes.FakeEngine()

    settings.ENGINE, settings.ENGINE_CHOICE_FILE = "auto", tmp_path / "engine.json"
    settings.ENGINE_SOCKETS = [f"ipc://{tmp_path}/engine.sock"]
    recognition.remember_choice(Choice(WHISPER, is_final=False, received_bytes=5_000_000, total_bytes=9_000_000))
    with fakes.serving(ModelCache({"standard": ""}, load), address=settings.ENGINE_SOCKETS[0]):
        response = client.get("/health/ready")
        may_end.set()
    assert response.status_code == 503
    assert response.json()["checks"]["engine"].startswith("The speech model is being downloaded (5 of 9 MB).")
    # Nothing is wrong, so there is no traceback.
    assert not [record for record in caplog.records if record.exc_info]
