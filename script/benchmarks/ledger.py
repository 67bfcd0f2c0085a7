"""Reservations and settlements a second of the ledger, beside as many plain UPDATEs.

Usage: script/benchmark ledger [postgresql://USER@HOST:PORT/ANY] [--clients 4] [--seconds 5] [--locked]

Makes a database of its own on that server and drops it afterwards; without a server, a file of SQLite, where one client
is the default. Parts: one wallet that all clients use, and 1,000 wallets. "plain" is `UPDATE billing_wallet SET
held_micros = held_micros + 1 WHERE id = ...`, one transaction each, on the same wallets, through the same driver, by as
many processes. A reservation or a settlement each counts as one. The kinds take short turns, so that all meet the same
machine. All commit as the server is set, each client on a connection of its own. Each wallet has had its first
reservation of the month, which makes the month's rows under the lock.

--locked measures the ledger also without its fast path (docs/decisions/0020). CPU is that of the clients, without the
server. On a machine that does other work, compare the CPU and the median of the ratios of neighbouring turns.
"""

import argparse
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import psycopg

ROUNDS = 5
PRICE_MICROS = 417


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", nargs="?", default="")
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--locked", action="store_true")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ |= {
            "VOXSITE_ENV": "development",
            "VOXSITE_DATA_DIR": folder,
            "DJANGO_SETTINGS_MODULE": "voxsite.settings",
        }
        if chosen.server:
            name = f"voxsite_benchmark_{os.getpid()}"
            server = stack.enter_context(psycopg.connect(chosen.server, autocommit=True))
            server.execute(f"CREATE DATABASE {name}")
            stack.callback(server.execute, f"DROP DATABASE {name} WITH (FORCE)")
            os.environ["DATABASE_URL"] = urlsplit(chosen.server)._replace(path=f"/{name}").geturl()
        kinds = ["plain", "ledger", "locked"] if chosen.locked else ["plain", "ledger"]
        measure(kinds, clients=chosen.clients or (4 if chosen.server else 1), seconds=chosen.seconds)


def measure(kinds: list[str], *, clients: int, seconds: float) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection, transaction

    # Without the tables of others, which the ledger does not touch.
    for app in ("accounts", "billing"):
        call_command("migrate", app, verbosity=0)
    with transaction.atomic():
        organizations = [_organization(number) for number in range(1_000)]
    connection.close()
    print(f"{clients} clients, {ROUNDS} rounds of {seconds:g} s each, with an API key and its monthly limit")
    for count in (1, 1_000):
        # Of each kind and round: (operations a second, microseconds of CPU for each).
        turns: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, rates in turns.items():
                rates.append(_rate(kind, organizations[:count], clients=clients, seconds=seconds))
        print(f"{count:5} wallet{'' if count == 1 else 's'}")
        for kind, rates in turns.items():
            rate, cpu = (statistics.median(column) for column in zip(*rates, strict=True))
            of_plain = statistics.median(one[0] / plain[0] for one, plain in zip(rates, turns["plain"], strict=True))
            print(
                f"  {kind:7} {rate:6.0f} /s, {of_plain:.2f} of plain, {cpu:5.0f} us of CPU each   "
                f"{[round(each[0]) for each in rates]}"
            )
        if "locked" in turns:
            pairs = list(zip(turns["ledger"], turns["locked"], strict=True))
            times, cpu_times = (
                statistics.median(values)
                for values in zip(*((fast[0] / slow[0], slow[1] / fast[1]) for fast, slow in pairs), strict=True)
            )
            print(f"  with the fast path {times:.2f} times as many a second, CPU each / {cpu_times:.2f}")
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


def _rate(kind: str, organizations: list[Any], *, clients: int, seconds: float) -> tuple[float, float]:
    """Return (operations a second of all clients together, microseconds of the clients' CPU for each)."""
    context = multiprocessing.get_context("fork")
    start, counts = context.Barrier(clients), context.Queue()
    workers = [
        context.Process(target=_client, args=(kind, organizations, seconds, start, counts)) for _ in range(clients)
    ]
    for worker in workers:
        worker.start()
    done, elapsed, cpu = zip(*(counts.get(timeout=seconds + 60) for _ in workers), strict=True)
    for worker in workers:
        worker.join()
    rate = sum(count / spent for count, spent in zip(done, elapsed, strict=True))
    return rate, sum(cpu) / sum(done) * 1e6


def _client(kind: str, organizations: list[Any], seconds: float, start: Any, counts: Any) -> None:
    from django.db import connection

    if kind == "locked":
        _switch_fast_path_off()
    deed = {"plain": _plain, "ledger": _ledger, "locked": _ledger}[kind]
    random.seed(os.getpid())
    connection.ensure_connection()
    deed(random.choice(organizations))
    start.wait(timeout=60)
    began, cpu_began, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        done += deed(random.choice(organizations))
    counts.put((done, time.perf_counter() - began, time.process_time() - cpu_began))
    connection.close()


def _switch_fast_path_off() -> None:
    """Have this process take the path under the lock always."""
    from billing.ledger import fast_path

    def unavailable(*_: object, **__: object) -> None:
        raise fast_path.FastPathUnavailable

    fast_path.reserve = fast_path.settle = unavailable


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
