import threading

import pytest
from django.db import connection

from tests.transcription.speech import fakes
from transcription import recognition
from transcription.speech.engines.choice import WHISPER, Choice
from transcription.speech.engines.model_cache import ModelCache
from voxsite import health


@pytest.fixture(autouse=True)
def fresh_look():
    health.READINESS.forget()


def test_outcome_is_cached_for_a_few_seconds():
    looks = []
    checks = health.CachedChecks({"database": lambda: looks.append(1)})
    for seconds in (0, 0, 0, health.CACHE_SECONDS - 0.1):
        assert checks.outcomes(clock=lambda seconds=seconds: 1000 + seconds) == {"database": "ok"}
    assert len(looks) == 1
    checks.outcomes(clock=lambda: 1000 + health.CACHE_SECONDS)
    assert len(looks) == 2


@pytest.mark.slow
def test_many_questions_are_one_look(client, db, settings):
    settings.ENGINE_SOCKETS = [f"ipc://{settings.DATA_DIR}/nobody.sock"]
    looks = []

    def count(execute, sql, *args):
        looks.append(sql)
        return execute(sql, *args)

    with connection.execute_wrapper(count):
        for _ in range(5):
            client.get("/health/ready")
    assert looks.count("SELECT 1") == 1


def test_health_asks_nothing(client, db):
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["X-Request-Id"]


def test_ready_names_the_part_that_fails(client, db, settings):
    settings.ENGINE_SOCKETS = [f"ipc://{settings.DATA_DIR}/nobody.sock"]
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["checks"] == {"database": "ok", "redis": "ok", "storage": "ok", "engine": "failed"}


@pytest.mark.slow
def test_unready_site_mails_nobody(client, db, settings, mailoutbox):
    """A load balancer asks every few seconds."""
    settings.ADMINS = [("Operator", "operator@example.com")]
    settings.ENGINE_SOCKETS = [f"ipc://{settings.DATA_DIR}/nobody.sock"]
    assert client.get("/health/ready").status_code == 503
    assert mailoutbox == []


def test_ready_with_everything(client, db, engine):
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (200, "ok")


def test_ready_asks_every_engine_of_the_host(client, db, engine, settings):
    """One of two GPUs that hangs halves what the host can do: it must be seen."""
    settings.ENGINE_SOCKETS = [engine, f"ipc://{settings.DATA_DIR}/nobody.sock"]
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["checks"]["engine"]) == (503, "failed")


def test_engine_that_still_downloads_is_not_ready_and_says_so(client, db, settings, tmp_path, caplog):
    may_end = threading.Event()

    def load(source):
        assert may_end.wait(10)
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
