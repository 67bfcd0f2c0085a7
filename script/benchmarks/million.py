"""Lists, searches, API calls and the clock's duties at 1,000 jobs and at a million, on PostgreSQL.

Usage: script/benchmark million postgresql://USER@HOST:PORT/ANY [--jobs 1000000] [--organizations 10000] [--keep]

Makes two databases on that server and drops them afterwards: one of 1,000 jobs and 10 organizations, and one of the
size asked for. A fifth of the jobs belongs to the organization that asks. A million jobs take some minutes to make,
and 5 GB. Requests go through the whole of Django, without a server, one after the other; the figures are medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from voxsite.serve import embedded_redis

ROUNDS = 9
SMALL = (1_000, 10)
FILES = 2_000
PAGES = (
    "/overview/",
    "/transcripts/",
    "/transcripts/?before={middle}",
    "/transcripts/?before={last}",
    "/transcripts/?status=running",
    "/transcripts/?status=completed",
    "/transcripts/?status=failed",
    "/transcripts/{job}/",
    "/billing/",
    "/billing/ledger/",
    "/billing/ledger/?before={middle_entry}",
    "/billing/ledger/?kind=payment",
    "/billing/ledger/?since={day}&until={day}",
    "/billing/ledger/?key={key}",
    "/billing/ledger/?model=premium&before={middle_entry}",
    "/billing/usage/",
    "/billing/usage/?month={month}",
    "/billing/payments/",
    "/billing/settings/",
    "/keys/",
    "/organization/",
    "/webhooks/",
    "/webhooks/deliveries/",
    "/webhooks/deliveries/?state=failed",
    "/webhooks/deliveries/?before={delivery}",
)
CALLS = (
    "/v1/balance",
    "/v1/keys",
    "/v1/limits",
    "/v1/jobs",
    "/v1/jobs?cursor={cursor}",
    "/v1/jobs?offset={third}",
    "/v1/jobs?offset={all}",
    "/v1/jobs?status=failed",
    "/v1/jobs?status=processing",
    "/v1/jobs?created_before={day}",
    "/v1/jobs?q=invoice",
    "/v1/jobs?q=xylophone",
    "/v1/jobs?q=nonsense",
    "/v1/jobs/{job}",
    "/v1/jobs/{job}/items",
    "/v1/usage",
    "/v1/usage?from={year_ago}",
    "/v1/usage?from={year_ago}&group_by=model,key",
    "/v1/usage?from={year_ago}&group_by=tag&tag=customer",
)
SEARCHES = tuple(
    f"/admin/{model}/?q={term}"
    for model in ("billing/entry", "billing/hold", "transcription/job", "transcription/jobitem", "transcription/media")
    for term in ("", "{job}", "job:{job}", "Organization 7")
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--organizations", type=int, default=10_000)
    parser.add_argument("--keep", action="store_true", help="keep the databases, and measure those that were kept")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis, redis_url = embedded_redis.start(Path(folder))
        stack.callback(embedded_redis.stop, redis)
        server = stack.enter_context(psycopg.connect(chosen.server, autocommit=True))
        found = []
        for jobs, organizations in (SMALL, (chosen.jobs, chosen.organizations)):
            name = f"voxsite_benchmark_{jobs}_{organizations}"
            if not chosen.keep:
                stack.callback(server.execute, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            is_new = not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if is_new:
                server.execute(f"CREATE DATABASE {name}")
            environment = os.environ | {
                "VOXSITE_ENV": "development",
                "VOXSITE_DATA_DIR": f"{folder}/{name}",
                "REDIS_URL": redis_url,
                "DATABASE_URL": urlsplit(chosen.server)._replace(path=f"/{name}").geturl(),
                "DJANGO_SETTINGS_MODULE": "voxsite.settings",
                "VOXSITE_RATE_REQUESTS": "1000000/minute",
            }
            Path(environment["VOXSITE_DATA_DIR"]).mkdir()
            part = [sys.executable, __file__, "--part", str(jobs if is_new else 0), str(organizations)]
            found.append(json.loads(subprocess.check_output(part, env=environment).splitlines()[-1]))
    small, large = found
    print(f"| | {SMALL[0]:,} jobs | {chosen.jobs:,} jobs | ratio |\n| --- | ---: | ---: | ---: |")
    for title in large:
        print(f"| {title} | {small[title]:.2f} | {large[title]:.2f} | {large[title] / max(small[title], 0.01):.2f} |")


def part(jobs: int, organizations: int) -> None:
    """Measure the database of the environment, and print milliseconds by title as JSON. jobs: 0 if it is filled."""
    # Here, apex is the app and not the script beside this one.
    sys.path[:] = [place for place in sys.path if place != str(Path(__file__).parent)]
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from script.benchmarks.measuring import filling

    if jobs:
        call_command("migrate_quickly", verbosity=0)
        began_at = time.perf_counter()
        filling.fill(connection, jobs=jobs, organizations=organizations)
        filling.analyze(connection, vacuum=True)
        print(f"{jobs} jobs were made in {time.perf_counter() - began_at:.0f} s.", file=sys.stderr)
    call_command("migrate", verbosity=0)
    print(json.dumps({title: 1000 * seconds for title, seconds in measured()}))


def measured() -> Iterator[tuple[str, float]]:
    """Yield (title, seconds)."""
    from accounts import links
    from accounts.models import Organization, User
    from billing import ledger, ledger_reader
    from voxsite.management.commands import clock

    large = Organization.objects.get(name="Organization 0")
    values = _values(large)
    root = "/" + links.ROOT.replace("<uuid:organization_id>", str(large.pk)).rstrip("/")
    member = _browser(User.objects.get(memberships__organization=large))
    for address in PAGES:
        yield f"`{address}`", _median(member, root + address.format(**values))
    program = _key(large)
    for address in CALLS:
        yield f"`{address}`", _median(program, address.format(**values))
    operator = User.objects.filter(is_superuser=True).first() or User.objects.create_superuser("o@example.com", "x")
    for address in SEARCHES:
        yield f"`{address}`", _median(_browser(operator), address.format(**values))
    for title, only in (("all", {}), ("of a key", {"api_key_id": values["key"]}), ("of a model", {"model": "premium"})):
        began_at = time.perf_counter()
        lines = "".join(ledger_reader.csv_lines(large, only=ledger_reader.Filter(**only))).count("\n")
        yield f"CSV, {title}, a line", (time.perf_counter() - began_at) / lines
    yield from _files(large)
    for _, duty in clock.DUTIES:
        yield f"duty `{duty.__name__}`", _seconds(duty)
    yield "duty `check_ledger`, at its hour", _seconds(_nightly)
    yield "`manage.py check_ledger`", _seconds(lambda: list(ledger.faults()))


def _nightly() -> None:
    from billing import periodic

    periodic.check_ledger()


def _files(organization: Any) -> Iterator[tuple[str, float]]:
    """Yield the time of the file sweep, for each file, with files that are known and one in a hundred that is not."""
    from django.core.files.storage import default_storage
    from django.utils import timezone

    from transcription import recordings
    from transcription.models import JobItem

    known = JobItem.objects.filter(job__organization=organization).exclude(result_key="")
    keys = list(known.values_list("result_key", flat=True)[:FILES])
    for number, key in enumerate(keys):
        path = Path(default_storage.path(key if number % 100 else f"{key.rpartition('/')[0]}/{uuid.uuid4()}-1-a.json"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
        os.utime(path, (0, 0))
    without = _seconds(lambda: recordings.sweep(now=timezone.now()))
    yield "file sweep, a file", without / max(1, len(keys))


def _values(organization: Any) -> dict[str, Any]:
    """Return what stands in the addresses."""
    from django.utils import timezone

    from billing.models import Entry
    from transcription.dialects.native import listing
    from transcription.models import Delivery, Job

    jobs = Job.objects.of(organization).newest_first()
    count = jobs.count()
    middle, last = jobs[count // 2], jobs[count - 30]
    entries = Entry.objects.filter(wallet__organization=organization).order_by("id")
    return {
        "job": jobs.filter(status="completed")[0].pk,
        "middle": middle.pk,
        "last": last.pk,
        "cursor": listing.show_cursor(middle),
        "third": count // 3,
        "all": count - 30,
        "day": f"{middle.created_at:%Y-%m-%d}",
        "month": f"{middle.created_at:%Y-%m}",
        "year_ago": f"{timezone.now() - timedelta(days=365):%Y-%m-%d}",
        "middle_entry": entries[count // 2].pk,
        "key": organization.api_keys.order_by("created_at")[0].pk,
        "delivery": Delivery.objects.of(organization).newest_first()[count // 10].pk,
    }


def _browser(user: Any) -> Callable[[str], Any]:
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client.get


def _key(organization: Any) -> Callable[[str], Any]:
    from django.test import Client

    from accounts import api_keys
    from accounts.models import Scope

    _, key = api_keys.issue(organization, name="benchmark", by=None, scopes=list(Scope))
    client = Client(SERVER_NAME="localhost")
    return lambda address: client.get(address, headers={"X-API-Key": key})


def _median(get: Callable[[str], Any], address: str) -> float:
    def ask() -> None:
        response = get(address)
        assert response.status_code == 200, (address, response.status_code)

    ask()
    return statistics.median(_seconds(ask) for _ in range(ROUNDS))


def _seconds(act: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    act()
    return time.perf_counter() - began_at


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        part(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
