"""What is reported to a server that speaks Sentry's protocol, which listens here."""

import subprocess
import sys

import pytest

from tests import sentry
from tests.product import PROJECT_DIR, environment_of

pytestmark = pytest.mark.enable_socket

SECRET = "vxp_live_secret"
# A page that breaks, asked as a program and a browser would, with secrets in every place.
CRASH = f"""
import django
django.setup()
from django.test import Client
from django.urls import path
from accounts import log_context

def crash(request):
    log_context.add(job_id="job-1")
    key = request.headers["X-API-Key"]
    raise RuntimeError("the disk is gone")

urlpatterns = [path("crash/", crash)]
from django.test.utils import override_settings
with override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"]):
    answer = Client(raise_request_exception=False, headers={{"X-API-Key": "{SECRET}", "Cookie": "a={SECRET}"}}).post(
        "/crash/?signature={SECRET}", {{"text": "{SECRET}"}}
    )
print(answer.status_code)
"""


def run(code: str, **switches: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_DIR,
        env=environment_of(
            DJANGO_SETTINGS_MODULE="voxsite.settings", VOXSITE_ENV="development", REDIS_URL="redis://x", **switches
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.long
def test_report_says_where_and_about_what_and_nothing_of_the_customer(tmp_path) -> None:
    with sentry.receiving() as (dsn, came):
        done = run(CRASH, VOXSITE_SENTRY_DSN=dsn, VOXSITE_DATA_DIR=str(tmp_path), SUPERVISOR_PROCESS_NAME="web")
    assert done.stdout == "500\n", done.stderr
    (report,) = came
    assert SECRET not in report.decode()
    event = sentry.event_of(report)
    (error,) = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("RuntimeError", "the disk is gone")
    assert error["stacktrace"]["frames"][-1]["function"] == "crash"
    assert (event["tags"]["job_id"], event["tags"]["program"]) == ("job-1", "web")
    assert (event["environment"], event["release"][:8]) == ("development", "voxsite@")
    assert "request" not in event


@pytest.mark.long
def test_without_an_address_nothing_is_loaded_and_a_bad_one_is_told(tmp_path) -> None:
    code = "import sys, django; django.setup(); print('sentry_sdk' in sys.modules)"
    assert run(code, VOXSITE_DATA_DIR=str(tmp_path)).stdout == "False\n"
    bad = run(code, VOXSITE_DATA_DIR=str(tmp_path), VOXSITE_SENTRY_DSN="sentry.example")
    assert "VOXSITE_SENTRY_DSN is no address of a Sentry project" in bad.stderr
