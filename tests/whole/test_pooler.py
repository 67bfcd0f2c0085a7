"""The product behind PgBouncer that lends connections for single transactions: jobs, chat, money, and all checks."""

from collections.abc import Iterator

import pytest
import requests

from tests import product
from tests.apex import scripted
from tests.conftest import AUDIO
from tests.whole.customer import faults_of_ledger, wait_for
from tests.whole.own_services import OwnPgBouncer, OwnPostgres, pgbouncer_binary, postgres_binaries

pytestmark = [
    pytest.mark.slow,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        postgres_binaries() is None or pgbouncer_binary() is None, reason="needs PostgreSQL's programs and PgBouncer"
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[product.Product]:
    binaries, binary = postgres_binaries(), pgbouncer_binary()
    assert binaries is not None
    assert binary is not None
    postgres = OwnPostgres(binaries)
    pooler = OwnPgBouncer(binary, postgres=postgres)
    postgres.start()
    pooler.start()
    try:
        with scripted.running() as upstream:
            switches = {
                "DATABASE_URL": pooler.url,
                "VOXSITE_DATABASE_PREPARES": "off",
                "APEX_UPSTREAM_BASE_URL": f"{upstream.address}/first",
            }
            with product.running_first(tmp_path_factory.mktemp("product"), **switches) as running:
                yield running
    finally:
        pooler.stop()
        postgres.remove()


def test_jobs_and_chat_are_charged_and_the_ledger_is_whole(site):
    key = {"X-API-Key": site.new_key(owner="pooled@example.com", dollars="5")}
    with (AUDIO / "sentence-slt.wav").open("rb") as file:
        made = requests.post(f"{site.address}/v1/transcribe", headers=key, files={"file": file}, timeout=60)
    assert made.status_code == 201, made.text
    for stream in (False, True) * 3:
        body = {"model": "apex-latest", "stream": stream, "messages": [{"role": "user", "content": "normal 5"}]}
        answer = requests.post(f"{site.address}/v1/apex/chat/completions", headers=key, json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        assert b"word4" in answer.content
    job = f"{site.address}/v1/jobs/{made.json()['job_id']}"
    wait_for(
        lambda: requests.get(job, headers=key, timeout=30).json()["status"] == "completed",
        seconds=240,
        what="the job did not end",
    )
    wait_for(
        lambda: not site.rows("SELECT 1 FROM billing_hold WHERE state = 'open'"), seconds=60, what="a hold stayed open"
    )
    assert len(site.rows("SELECT 1 FROM billing_entry WHERE kind = 'usage'")) == 7
    # It reads by cursors where the database can.
    assert faults_of_ledger(site) == []
    site.manage("check_ledger")
    assert requests.get(f"{site.address}/health/ready", timeout=30).status_code == 200
