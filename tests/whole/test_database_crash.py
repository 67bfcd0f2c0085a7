"""A crash of PostgreSQL right after an admission, which does not wait for the disk. The answer is charged once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
import requests

from apex.usage_meter import Rates
from tests import product
from tests.apex import scripted
from tests.apex.exchange import ScriptedUpstream
from tests.whole.customer import faults_of_ledger, wait_for
from tests.whole.own_services import OwnPostgres, postgres_binaries

pytestmark = [
    pytest.mark.slow,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
    pytest.mark.skipif(postgres_binaries() is None, reason="needs PostgreSQL's own programs: initdb and postgres"),
]

RATES = Rates(prompt_micros=300_000, completion_micros=450_000)
ROUNDS = 6
CHARGES = "SELECT -amount_micros FROM billing_entry WHERE reference = ?"
HOLDS = "SELECT reference FROM billing_hold WHERE state = 'open'"


@pytest.fixture
def postgres() -> Iterator[OwnPostgres]:
    binaries = postgres_binaries()
    assert binaries is not None
    # The server writes its log for nobody but those who wait for it, so what does not wait is lost by a crash.
    server = OwnPostgres(binaries, wal_writer_delay="10s", autovacuum="off")
    server.start()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with scripted.running() as server:
        yield server


@pytest.fixture
def site(postgres, upstream, tmp_path) -> Iterator[product.Product]:
    switches = {"DATABASE_URL": postgres.url, "APEX_UPSTREAM_BASE_URL": f"{upstream.address}/first"}
    with product.running_first(tmp_path, **switches) as running:
        yield running


def ask(site: product.Product, key: str, content: str) -> requests.Response:
    body = {"model": "apex-latest", "stream": True, "messages": [{"role": "user", "content": content}]}
    return requests.post(
        f"{site.address}/v1/apex/chat/completions", json=body, headers={"X-API-Key": key}, stream=True, timeout=120
    )


def test_answer_whose_hold_is_lost_is_charged_once(site, postgres, upstream):
    key = site.new_key(owner="crash@example.com", dollars="5")
    assert b"[DONE]" in ask(site, key, "normal 3").content
    lost = 0
    for number in range(1, ROUNDS + 1):
        # Connected before: the less time the hold has, the surer it is lost.
        database = psycopg.connect(postgres.url, autocommit=True)
        wait_for(lambda: not site.rows(HOLDS), seconds=60, what="the completion before did not end")
        with ask(site, key, f"slow 40 0.2 round {number}") as response:
            chunks = response.iter_lines()
            assert next(chunks).startswith(b"data: ")
            ((reference,),) = database.execute(HOLDS).fetchall()
            postgres.stop()
            postgres.start()
            lost += (reference,) not in site.rows(HOLDS)
            assert b"data: [DONE]" in list(chunks)
        with suppress(psycopg.Error):
            database.close()
        charged = wait_for(lambda about=reference: site.rows(CHARGES, about), seconds=60, what="it was not charged")
        usage = upstream.produced[f"chatcmpl-{len(upstream.bodies)}"]
        price = RATES.price_micros(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
        assert charged == [(price,)]
        row = site.rows("SELECT state FROM apex_completion WHERE id = ?", reference.removeprefix("chat:"))
        assert row == [("charged",)]
        if lost:
            break
    assert lost, f"no hold of {ROUNDS} was lost"
    assert faults_of_ledger(site) == []
    site.manage("check_ledger")
