"""Each process of a busy site is restarted in turn, as containers are, and no customer notices."""

import time

import pytest

from tests import fleet, mixed_load, product
from tests.apex import scripted
from tests.conftest import AUDIO
from tests.fixtures import tiny_whisper

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(900)]


def test_rolling_restart_fails_no_request_cuts_no_stream_and_charges_once(tmp_path):
    model = str(tiny_whisper.build(tmp_path))
    with product.given_services() as services, scripted.running() as upstream:
        if not services:
            pytest.skip("Processes that are no supervisor's share PostgreSQL and Redis.")
        switches = {
            "APEX_UPSTREAM_BASE_URL": f"{upstream.address}/first",
            "APEX_UPSTREAM_API_KEY": "none",
            "VOXSITE_ENGINE": "faster_whisper",
            "VOXSITE_WHISPER_STANDARD": model,
            "VOXSITE_WHISPER_PREMIUM": model,
            **services,
        }
        with fleet.running(tmp_path, **fleet.ROLLING, **switches) as running:
            site = running.site
            load = mixed_load.Load(site.address, site.new_key(dollars="900"), AUDIO / "sentence-slt.wav")
            load.start(uploaders=1, callers=1, streams=1, watchers=1)
            for container in running.containers:
                running.restart(container)
                time.sleep(1)
            load.stop()
            assert [
                *load.faults,
                *mixed_load.faults_of_jobs(site, load),
                *mixed_load.faults_of_ledger(site),
            ] == []
            assert all(load.counts[kind] for kind in ("upload", "call_and_wait", "chat", "watch", "look"))
            assert [each.name for each in running.containers if each.was_killed] == []
