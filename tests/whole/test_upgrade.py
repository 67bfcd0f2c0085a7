"""The site of an earlier release is migrated, on PostgreSQL while its processes write, and goes on with all it had.

The archives are sites as real code of the release left them (tests/fixtures/releases/make.py).
"""

import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
from redis import Redis

from tests import database, product
from tests.conftest import AUDIO, FIXTURES
from tests.database import PROJECT_DIR
from tests.fixtures.releases import make
from tests.product import Product
from tests.whole.customer import Customer

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

RELEASES = ["0.2.0"]
# 4 started seconds.
PRICE_MICROS = 333
# As docs/operations.md has it: a migration that waits longer for a lock gives up.
LOCKS = {"PGOPTIONS": "-c lock_timeout=5s"}
# What processes of the release write all the time: the use of a key, a heartbeat, the row of a wallet.
WRITES = (
    "UPDATE accounts_apikey SET last_used_at = now()",
    "UPDATE transcription_jobitem SET touched_at = now()",
    "UPDATE billing_wallet SET held_micros = held_micros",
)


def unpacked(release: str, kind: str, folder: Path) -> dict[str, Any]:
    """Unpack a site into a folder. Returns its manifest."""
    with tarfile.open(FIXTURES / "releases" / f"{release}-{kind}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return dict(json.loads((folder / "manifest.json").read_text()))


# Keys are kept for a day after they were used, and the archives are older.
USE_KEYS_NOW = """
from accounts.models import IdempotencyRecord
from django.utils import timezone
IdempotencyRecord.objects.update(created_at=timezone.now())
"""


def manage(folder: Path, *words: str, **switches: str) -> None:
    environment = product.environment_of(
        VOXSITE_ENV="development", VOXSITE_DATA_DIR=str(folder), SECRET_KEY=make.SECRET_KEY, **switches
    )
    command = [sys.executable, "manage.py", *words, "--verbosity", "0"]
    done = subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


@contextmanager
def written_to(url: str) -> Iterator[list[float]]:
    """Write as the release does, from a connection for each statement. Gives the seconds that each write took."""
    taken: list[float] = []
    faults: list[Exception] = []
    ended = threading.Event()

    def write(statement: str) -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                while not ended.is_set():
                    started = time.monotonic()
                    connection.execute(statement)
                    taken.append(time.monotonic() - started)
                    ended.wait(0.02)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(statement,)) for statement in WRITES]
    for thread in threads:
        thread.start()
    try:
        yield taken
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert faults == []


def goes_on(site: Product, kept: dict[str, Any]) -> None:
    """Check that the site has what it had, and does what was left to do."""
    customer = Customer(site, make.OWNER, key=kept["key"])
    assert customer.text(kept["done"]) == kept["text"]
    assert customer.job(kept["canceled"])["status"] == "canceled"
    # The same order again is the job that the release made.
    with (AUDIO / "sentence-slt.wav").open("rb") as file:
        again = requests.post(
            f"{site.address}/v1/transcribe",
            headers={**customer.headers, "Idempotency-Key": "order-1"},
            files={"file": file},
            timeout=60,
        )
    assert (again.status_code, again.json()["job_id"]) == (201, kept["done"]), again.text
    # It was submitted to the release, which did not come to it.
    customer.wait(kept["waiting"], seconds=240)
    assert customer.text(kept["waiting"]) == kept["text"]
    balance = customer.balance()
    assert (balance["balance_micros"], balance["held_micros"]) == (kept["balance_micros"] - kept["held_micros"], 0)
    query = "SELECT -amount_micros FROM billing_entry WHERE reference = ?"
    charges = [site.rows(query, f"job:{kept[name]}") for name in ("done", "waiting", "canceled")]
    assert charges == [[(PRICE_MICROS,)], [(PRICE_MICROS,)], []]
    assert "no faults" in site.manage("check_ledger")
    listed = requests.get(f"{site.address}/v1/jobs?q=appointment", headers=customer.headers, timeout=30).json()
    assert {job["id"] for job in listed["jobs"]} >= {kept["waiting"]}


@pytest.mark.parametrize("release", RELEASES)
def test_site_of_a_release_on_sqlite_is_upgraded(release: str, tmp_path: Path) -> None:
    kept = unpacked(release, "sqlite", tmp_path)
    manage(tmp_path, "migrate", "--noinput")
    manage(tmp_path, "shell", "-c", USE_KEYS_NOW)
    with product.running_first(tmp_path, SECRET_KEY=make.SECRET_KEY) as site:
        goes_on(site, kept)


@pytest.mark.parametrize("release", RELEASES)
def test_site_of_a_release_on_configured_services_is_upgraded_while_it_writes(release: str, tmp_path: Path) -> None:
    given = os.environ.get("DATABASE_URL")
    if not given:
        pytest.skip("DATABASE_URL names no database")
    kept = unpacked(release, "postgresql", tmp_path)
    url = urlsplit(given)._replace(path=f"/voxsite_upgraded_{os.getpid()}").geturl()
    database.create_empty(url)
    try:
        command = ["pg_restore", "--exit-on-error", "--no-owner", "-d", url, str(tmp_path / "dump")]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Redis.from_url(os.environ["REDIS_URL"]) as redis:
            redis.flushdb()
        with written_to(url) as taken:
            manage(tmp_path, "migrate", "--noinput", DATABASE_URL=url, **LOCKS)
        manage(tmp_path, "shell", "-c", USE_KEYS_NOW, DATABASE_URL=url)
        assert len(taken) > len(WRITES)
        switches = {"DATABASE_URL": url, "REDIS_URL": os.environ["REDIS_URL"], "SECRET_KEY": make.SECRET_KEY}
        with product.running_first(tmp_path, **switches) as site:
            goes_on(site, kept)
    finally:
        database.drop(url)
