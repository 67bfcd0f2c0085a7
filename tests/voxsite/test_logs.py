"""What processes log, as lines and as JSON."""

import io
import json
import logging
import logging.config
import os
import subprocess
import sys

import pytest
from django.core.files.storage import FileSystemStorage
from django.test import Client

from accounts import api_keys, log_context
from tests.fixtures import recordings
from tests.transcription.factories import make_media, make_submission
from transcription import jobs, tasks
from transcription.jobs import work
from voxsite import logs


class Log(io.StringIO):
    def lines(self):
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def of(self, text):
        """Return the only line with a text."""
        (line,) = [line for line in self.lines() if text in line["message"]]
        return line


@pytest.fixture
def log(monkeypatch):
    """All that is logged, as JSON, by the formatter and filters of the settings."""
    monkeypatch.setenv("SUPERVISOR_PROCESS_NAME", "web")
    config = logs.config(log_format=logs.JSON)
    handler = logging.StreamHandler(Log())
    handler.setFormatter(logging.config.DictConfigurator(config).configure_formatter(config["formatters"][logs.JSON]))
    handler.addFilter(log_context.AddsIds())
    handler.addFilter(logs.AddsProgram())
    log_context.begin()
    logging.getLogger().addHandler(handler)
    yield handler.stream
    logging.getLogger().removeHandler(handler)


class CrashingStorage(FileSystemStorage):
    def _save(self, name, content):
        raise RuntimeError("the disk is gone")


def test_fault_of_a_request_names_the_request_the_organization_and_the_key(log, organization, settings):
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"{__name__}.CrashingStorage"}}
    row, key = api_keys.issue(organization, name="program", by=None)
    with recordings.named("sentence-slt.wav").path.open("rb") as file:
        response = Client(raise_request_exception=False).post(
            "/v1/transcribe", {"file": file}, headers={"X-API-Key": key, "X-Request-Id": "theirs-0001"}
        )
    assert response.status_code == 500
    line = log.of("Unhandled error")
    assert (line["level"], line["logger"], line["program"]) == ("ERROR", "accounts.gate.views", "web")
    assert (line["request_id"], line["organization_id"], line["key_id"]) == (
        "theirs-0001",
        str(organization.pk),
        str(row.pk),
    )
    assert "the disk is gone" in line["traceback"]
    assert line["time"].endswith("+00:00")


def test_fault_of_a_page_names_the_person(log, client_of, alice, organization, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("no list")

    monkeypatch.setattr("transcription.pages.listing.render", fails)
    visitor = client_of(alice)
    visitor.raise_request_exception = False
    assert visitor.get("/transcripts/").status_code == 500
    line = log.of("Internal Server Error")
    assert (line["organization_id"], line["user_id"]) == (str(organization.pk), str(alice.pk))
    # Django's own object: its text has the query, which of a signed address is a credential.
    assert "request" not in line


def test_fault_of_a_worker_names_the_job_and_the_item(log, organization, fake_engine):
    spoken = recordings.named("sentence-slt.wav")
    media = make_media(organization, content=spoken.path.read_bytes(), duration_ms=spoken.duration_ms)
    job = jobs.submit(make_submission(organization), media=media)
    item = job.items.get()
    fake_engine.fail(RuntimeError("no engine"))
    tasks.run_item(str(item.pk))
    line = next(line for line in log.lines() if line["logger"] == work.__name__)
    assert (line["job_id"], line["item_id"], line["organization_id"]) == (
        str(job.pk),
        str(item.pk),
        str(organization.pk),
    )


def test_letters_of_all_scripts_are_readable_and_one_event_is_one_line(log):
    logging.getLogger("voxsite").warning("Grüße,\n日本")
    assert "Grüße" in log.getvalue()
    assert log.getvalue().count("\n") == 1
    assert log.of("Grüße")["message"] == "Grüße,\n日本"


def said_by_a_process(tmp_path, **switches):
    """Return what a process with these switches logs."""
    program = (
        "import django, logging; django.setup(); from accounts import log_context; "
        "log_context.begin(job_id='j1'); logging.getLogger('voxsite').info('said')"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "voxsite.settings", "VOXSITE_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment | switches, capture_output=True, text=True, check=True
    )
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.long
def test_switch_of_the_form(tmp_path):
    assert said_by_a_process(tmp_path).endswith(" INFO voxsite: job_id=j1 said")
    line = json.loads(said_by_a_process(tmp_path, VOXSITE_LOG_FORMAT="json", SUPERVISOR_PROCESS_NAME="clock"))
    assert line.pop("time")
    assert line == {"level": "INFO", "logger": "voxsite", "message": "said", "program": "clock", "job_id": "j1"}
