"""What our workers do that RQ's do not."""

import os
import subprocess
import sys
from pathlib import Path

import django_rq
import pytest
from django.db import connection
from rq.executions import Execution

from tests import sentry
from transcription.jobs.base_worker import IMPORT_CONNECTIONS, BaseWorker

pytestmark = pytest.mark.enable_socket

PROJECT = Path(__file__).resolve().parents[3]


@pytest.mark.long
def test_child_that_fails_reports_it_before_it_ends():
    django_rq.get_queue("imports").enqueue_call("tests.transcription.noting.note", args=("/no/such/folder/said",))
    words = ["rqworker", "--burst", "--worker-class", "transcription.jobs.base_worker.BaseWorker", "imports"]
    with sentry.receiving() as (dsn, came):
        environment = os.environ | {"VOXSITE_SENTRY_DSN": dsn}
        command = [sys.executable, "manage.py", *words]
        subprocess.run(command, cwd=PROJECT, env=environment, check=True, capture_output=True, timeout=60)
    (report,) = came
    (error,) = sentry.event_of(report)["exception"]["values"]
    assert error["type"] == "FileNotFoundError"


def test_entry_of_a_killed_worker_whose_record_has_expired_ends_no_other_worker(caplog):
    queue = django_rq.get_queue("bulk")
    task = queue.enqueue_call("tests.transcription.noting.note", args=("/no/such/folder/said",), failure_ttl=0)
    with queue.connection.pipeline() as pipeline:
        execution = Execution.create(task, ttl=60, pipeline=pipeline)
        pipeline.execute()
    queue.connection.delete(execution.key)
    queue.connection.zadd(queue.started_job_registry.key, {execution.composite_key: 1})
    worker = BaseWorker([queue], connection=queue.connection)
    worker.run_maintenance_tasks()
    assert "RQ's registries could not be cleaned" in caplog.text
    assert not worker.should_run_maintenance_tasks
    assert not queue.connection.exists(queue.started_job_registry.key)


@pytest.mark.long
def test_worker_that_stood_still_goes_on(tmp_path):
    """Its record of the task has expired meanwhile: the next task is done all the same."""
    said = tmp_path / "said"
    queue = django_rq.get_queue("imports")
    queue.enqueue_call("tests.transcription.noting.outlive_its_record", result_ttl=0, failure_ttl=0)
    queue.enqueue_call("tests.transcription.noting.note", args=(str(said),))
    words = ["rqworker", "--burst", "--worker-class", "transcription.jobs.base_worker.BaseWorker", "imports"]
    subprocess.run([sys.executable, "manage.py", *words], cwd=PROJECT, check=True, capture_output=True, timeout=60)
    assert said.exists()


@pytest.mark.long
@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL only")
def test_downloads_share_connections(tmp_path):
    """Each of them would open several, one after the other, and each costs more than the question that it is for."""
    said = tmp_path / "said"
    django_rq.get_queue("imports").enqueue_call("tests.transcription.noting.note_sessions", args=(str(said),))
    words = ["rqworker", "--burst", "--worker-class", "transcription.jobs.base_worker.Importer", "imports"]
    subprocess.run([sys.executable, "manage.py", *words], cwd=PROJECT, check=True, capture_output=True, timeout=60)
    assert 1 <= int(said.read_text()) <= IMPORT_CONNECTIONS
