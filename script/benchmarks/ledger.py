"""How many reservations and settlements a second PostgreSQL takes from the ledger, beside as many plain UPDATEs.

Usage: script/benchmark ledger postgresql://USER@HOST:PORT/ANY [--clients 4] [--seconds 5]

Makes a database of its own on that server and drops it afterwards. Parts: one wallet that all clients use, and 1,000
wallets. "Plain" is `UPDATE billing_wallet SET held_micros = held_micros + 1 WHERE id = ...`, one transaction each, on
the same wallets, through the same driver, by as many processes; a reservation or a settlement each counts as one. The
two take turns, so that both meet the same machine. Both commit as the server is set, each client on a connection of
its own. Each wallet has had its first reservation of the month, which makes the month's rows and takes the slower way.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import psycopg

ROUNDS = 3
PRICE_MICROS = 417


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5)
    chosen = parser.parse_args()
    name = f"voxsite_benchmark_{os.getpid()}"
    with psycopg.connect(chosen.server, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            with tempfile.TemporaryDirectory() as folder:
                os.environ |= {
                    "VOXSITE_ENV": "development",
                    "VOXSITE_DATA_DIR": folder,
                    "DJANGO_SETTINGS_MODULE": "voxsite.settings",
                    "DATABASE_URL": urlsplit(chosen.server)._replace(path=f"/{name}").geturl(),
                }
                measure(clients=chosen.clients, seconds=chosen.seconds)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def measure(*, clients: int, seconds: float) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection, transaction

    # Without the tables of others, which the ledger does not touch.
    call_command("migrate", "billing", verbosity=0)
    with transaction.atomic():
        organizations = [_organization(number) for number in range(1_000)]
    connection.close()
    print(f"{clients} clients, {ROUNDS} rounds of {seconds:g} s each, with an API key and its monthly limit")
    for count in (1, 1_000):
        turns: dict[str, list[float]] = {"plain": [], "ledger": []}
        for _ in range(ROUNDS):
            for kind, rates in turns.items():
                rates.append(_rate(kind, organizations[:count], clients=clients, seconds=seconds))
        plain, ledger = (sorted(turns[kind])[ROUNDS // 2] for kind in ("plain", "ledger"))
        print(
            f"{count:5} wallet{'' if count == 1 else 's'}: ledger {ledger:6.0f} /s, plain UPDATEs {plain:6.0f} /s, "
            f"{ledger / plain:.2f} of plain   {turns['ledger']} {turns['plain']}"
        )
    from billing import ledger as the_ledger

    faults = list(the_ledger.verify(the_ledger.wallet_of(organizations[0][0])))
    print("faults of the hot wallet:", faults or "none")


def _organization(number: int) -> Any:
    from accounts import api_keys
    from accounts.models import Organization
    from billing import ledger
    from billing.models import EntryKind

    organization = Organization.objects.create(name=f"Benchmark {number}")
    key, _ = api_keys.issue(organization, name="benchmark", by=None, monthly_limit_micros=10**15)
    ledger.credit(organization, amount_micros=10**15, kind=EntryKind.CREDIT, reference=f"benchmark:{number}")
    # The first of a month makes the month's rows; what is measured is every other one.
    ledger.release(ledger.reserve(organization, amount_micros=0, reference=f"first:{number}", api_key=key))
    return organization, key, ledger.wallet_of(organization).pk


def _rate(kind: str, organizations: list[Any], *, clients: int, seconds: float) -> float:
    """Return operations a second of all clients together."""
    context = multiprocessing.get_context("fork")
    start, counts = context.Barrier(clients), context.Queue()
    workers = [
        context.Process(target=_client, args=(kind, organizations, seconds, start, counts)) for _ in range(clients)
    ]
    for worker in workers:
        worker.start()
    total = sum(counts.get(timeout=seconds + 60) for _ in workers)
    for worker in workers:
        worker.join()
    return round(total, 1)


def _client(kind: str, organizations: list[Any], seconds: float, start: Any, counts: Any) -> None:
    from django.db import connection

    deed = {"plain": _plain, "ledger": _ledger}[kind]
    random.seed(os.getpid())
    connection.ensure_connection()
    deed(random.choice(organizations))
    start.wait(timeout=60)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        done += deed(random.choice(organizations))
    counts.put(done / (time.perf_counter() - began))
    connection.close()


def _plain(subject: Any) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        for change in (1, -1):
            cursor.execute(
                "UPDATE billing_wallet SET held_micros = held_micros + %s WHERE id = %s", [change, subject[2]]
            )
    return 2


def _ledger(subject: Any) -> int:
    from billing import ledger

    organization, key, _ = subject
    hold = ledger.reserve(organization, amount_micros=PRICE_MICROS, reference=f"job:{uuid.uuid4()}", api_key=key)
    ledger.settle(hold, actual_micros=PRICE_MICROS, details={"model": "standard"})
    return 2


if __name__ == "__main__":
    sys.exit(main())
