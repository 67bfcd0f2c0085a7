"""A backup that was taken at work is restored into an empty site, which goes on where the backup was taken.

By the commands of docs/operations.md, on the PostgreSQL and Redis that the tests are given.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from redis import Redis

from tests import database, product
from tests.conftest import AUDIO
from tests.database import PROJECT_DIR
from tests.product import Product
from tests.whole.customer import Customer

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

BACK_UP, RESTORE = "pg_dump -Fc -f before.dump", "pg_restore --exit-on-error -d"
# What the operator keeps apart from the rest.
SECRETS = {"SECRET_KEY": "of the site that was backed up, and kept apart from the backup"}
OWNER = "kept@example.com"
# Each of four started seconds.
PRICE_MICROS = 333
WAITING_JOBS = 8


@pytest.fixture
def services() -> Iterator[dict[str, str]]:
    if not os.environ.get("DATABASE_URL"):
        pytest.skip("DATABASE_URL names no database")
    with product.given_services() as given:
        yield given


@pytest.fixture
def empty_database(services: dict[str, str]) -> Iterator[str]:
    url = urlsplit(services["DATABASE_URL"])._replace(path=f"/voxsite_restored_{os.getpid()}").geturl()
    database.create_empty(url)
    yield url
    database.drop(url)


def run(command: str, *arguments: object) -> None:
    subprocess.run([*command.split(), *map(str, arguments)], check=True, capture_output=True, timeout=120)


def charged(site: Product, job_id: str) -> list[int]:
    query = "SELECT -amount_micros FROM billing_entry WHERE reference = ?"
    return [int(micros) for (micros,) in site.rows(query, f"job:{job_id}")]


def test_commands_are_those_of_the_document() -> None:
    document = (PROJECT_DIR / "docs" / "operations.md").read_text()
    assert BACK_UP in document
    assert RESTORE in document


def test_backup_at_work_is_restored_and_goes_on(services: dict[str, str], empty_database: str, tmp_path: Path) -> None:
    lost, found = tmp_path / "lost", tmp_path / "found"
    lost.mkdir()
    found.mkdir()
    with product.running(lost, **SECRETS, **services) as site:
        customer = Customer(site, OWNER)
        at_first = customer.balance()["balance_micros"]
        done = customer.submit(AUDIO / "sentence-slt.wav")
        customer.wait(done, seconds=120)
        text = customer.text(done)
        waiting = [customer.submit(AUDIO / "sentence-slt.wav") for _ in range(WAITING_JOBS)]
        # The database first: what it names must be in the copy of the files.
        run(BACK_UP.replace("before.dump", str(tmp_path / "before.dump")), services["DATABASE_URL"])
        shutil.copytree(lost / "media", found / "media")
        too_late = customer.submit(AUDIO / "sentence-slt.wav")
    # The machine is gone, with its database, its files and its Redis.
    database.drop(services["DATABASE_URL"])
    shutil.rmtree(lost)
    with Redis.from_url(services["REDIS_URL"]) as redis:
        redis.flushdb()

    run(RESTORE, empty_database, tmp_path / "before.dump")
    with product.running(found, **SECRETS, **{**services, "DATABASE_URL": empty_database}) as site:
        restored = Customer(site, OWNER, key=customer.headers["X-API-Key"])
        assert restored.text(done) == text
        restored.wait(*waiting, seconds=240)
        assert {restored.text(job_id) for job_id in waiting} == {text}
        assert [charged(site, job_id) for job_id in (done, *waiting)] == [[PRICE_MICROS]] * (1 + WAITING_JOBS)
        balance = restored.balance()
        assert (balance["balance_micros"], balance["held_micros"]) == (
            at_first - (1 + WAITING_JOBS) * PRICE_MICROS,
            0,
        )
        address = f"{site.address}/v1/jobs/{too_late}"
        assert requests.get(address, headers=restored.headers, timeout=30).status_code == 404
        assert "no faults" in site.manage("check_ledger")
        again = restored.submit(AUDIO / "sentence-slt.wav")
        restored.wait(again, seconds=120)
