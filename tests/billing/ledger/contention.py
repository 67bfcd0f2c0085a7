"""Many processes or threads that use one wallet: `contention.py SCENARIO processes|threads ORGANIZATION`.

Run by test_contention on the database that the environment names. Prints one JSON object.
"""

import json
import multiprocessing
import queue
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

WORKER_COUNT = 8
# SQLite lets one writer in at a time, and the others retry at intervals. No worker may wait longer than this.
LONGEST_SECONDS = 120


def burst(organization: Any, worker: int) -> Counter[str]:
    """Ask for 50 holds of 1,000 micro-dollars."""
    from accounts.errors import PaymentRequired
    from billing import ledger

    seen: Counter[str] = Counter()
    for number in range(50):
        try:
            ledger.reserve(organization, amount_micros=1_000, reference=f"burst:{worker}:{number}")
            seen["admitted"] += 1
        except PaymentRequired as error:
            seen["refused" if error.data["available_micros"] == 999 else "refused too early"] += 1
    return seen


def quarrel(organization: Any, worker: int) -> Counter[str]:
    """Repeat what all other workers do. Half of the workers settle the holds that the other half release."""
    from billing import ledger
    from billing.models import EntryKind

    seen: Counter[str] = Counter()
    for number in range(15):
        ledger.credit(organization, amount_micros=1_000, kind=EntryKind.CREDIT, reference=f"credit:{number}")
        try:
            hold = ledger.reserve(organization, amount_micros=500, reference=f"work:{number}")
            ledger.extend(hold, to_micros=700)
            if worker % 2:
                seen["charged"] += ledger.settle(hold, actual_micros=600) is not None
            else:
                seen["released"] += ledger.release(hold)
        except (ledger.HoldSettled, ledger.HoldReleased):
            seen["late"] += 1
    return seen


def live(organization: Any, worker: int) -> Counter[str]:
    """Run ten live sessions of unknown length. Half of the workers extend the holds of all, the others end them."""
    from accounts.errors import PaymentRequired
    from billing import ledger

    seen: Counter[str] = Counter()
    for number in range(10):
        try:
            hold = ledger.reserve(organization, amount_micros=100, reference=f"live:{number}")
            if worker % 2:
                entry = ledger.settle(hold, actual_micros=400)
                if entry is not None:
                    seen["settled"] += 1
                    seen["charged_micros"] -= entry.amount_micros
                continue
            for to_micros in range(200, 1_000, 100):
                ledger.extend(hold, to_micros=to_micros)
                seen["extended"] += 1
        except PaymentRequired:
            seen["refused"] += 1
        except ledger.HoldSettled:
            seen["late"] += 1
    return seen


def nickel(organization: Any, worker: int) -> Counter[str]:
    """Submit 25 recordings of five seconds, at 417 micro-dollars each."""
    from accounts.errors import PaymentRequired
    from billing import ledger

    seen: Counter[str] = Counter()
    for number in range(25):
        try:
            ledger.reserve(organization, amount_micros=417, reference=f"nickel:{worker}:{number}")
            seen["admitted"] += 1
        except PaymentRequired as error:
            shortfall = error.data["required_micros"] - error.data["available_micros"]
            seen[f"{error.http_status} {error.type}, {shortfall} missing"] += 1
    return seen


def capped(organization: Any, worker: int) -> Counter[str]:
    """Reserve and settle 25 times with a key whose monthly limit does not cover all workers."""
    from billing import ledger

    key = organization.api_keys.get()
    seen: Counter[str] = Counter()
    for number in range(25):
        try:
            hold = ledger.reserve(organization, amount_micros=1_000, reference=f"capped:{worker}:{number}", api_key=key)
        except ledger.SpendLimitReached as error:
            seen[f"{error.http_status} {error.type}, {error.data['left_micros']} left"] += 1
            continue
        seen["admitted"] += 1
        ledger.settle(hold, actual_micros=1_000)
    return seen


def expiry_race(organization: Any, worker: int) -> Counter[str]:
    """Half of the workers expire the inactive balance while the other half reserve from it."""
    from accounts.errors import PaymentRequired
    from billing import ledger
    from billing.models import Wallet

    wallet = Wallet.objects.get(organization=organization)
    seen: Counter[str] = Counter()
    if worker % 2:
        seen["expired"] += ledger.expire(organization, inactive_since=wallet.last_activity_at) is not None
        return seen
    try:
        ledger.reserve(organization, amount_micros=1_000, reference=f"race:{worker}")
        seen["admitted"] += 1
    except PaymentRequired:
        seen["refused"] += 1
    return seen


SCENARIOS = {
    "burst": burst,
    "quarrel": quarrel,
    "live": live,
    "nickel": nickel,
    "capped": capped,
    "expiry_race": expiry_race,
}


def _work(scenario: str, organization_id: str, worker: int, start: Any, results: Any) -> None:
    from django.db import connection

    from accounts.models import Organization

    try:
        organization = Organization.objects.get(pk=organization_id)
        start.wait(timeout=LONGEST_SECONDS)
        results.put(dict(SCENARIOS[scenario](organization, worker)))
    except BaseException as error:
        start.abort()
        results.put({f"error: {error!r}": 1})
        raise
    finally:
        connection.close()


def main(scenario: str, kind: str, organization_id: str) -> None:
    import django

    django.setup()
    start: Any
    results: Any
    if kind == "processes":
        # Forked before the first connection is made, so that no connection is shared.
        context = multiprocessing.get_context("fork")
        start, results, make = context.Barrier(WORKER_COUNT + 1), context.Queue(), context.Process
    else:
        start, results, make = threading.Barrier(WORKER_COUNT + 1), queue.Queue(), threading.Thread  # type: ignore[assignment]
    workers = [
        make(target=_work, args=(scenario, organization_id, worker, start, results)) for worker in range(WORKER_COUNT)
    ]
    for worker in workers:
        worker.start()
    start.wait(timeout=LONGEST_SECONDS)
    began = time.monotonic()
    seen: Counter[str] = Counter()
    for _ in workers:
        seen.update(results.get(timeout=LONGEST_SECONDS))
    elapsed = time.monotonic() - began
    for worker in workers:
        worker.join()

    from accounts.models import Organization
    from billing import ledger
    from billing.models import Entry

    organization = Organization.objects.get(pk=organization_id)
    wallet = ledger.wallet_of(organization)
    report = {
        "seen": seen,
        "seconds": round(elapsed, 2),
        "balance": wallet.balance_micros,
        "held": wallet.held_micros,
        "entries": Entry.objects.of(organization).count(),
        "faults": ledger.verify(wallet),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    main(*sys.argv[1:])
