"""What our workers do that RQ's do not."""

import os
import subprocess
import sys
from pathlib import Path

import django_rq
import pytest

from tests import sentry

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
