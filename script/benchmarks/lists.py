"""Pages of `GET /v1/jobs` of an organization with many jobs: how long a request takes, by cursor, filter and search.

Usage: script/benchmark lists postgresql://USER@HOST:PORT/ANY [--jobs 1000000]

Makes a database of its own on that server and drops it afterwards. Each job has a transcript of 100 words out of 14,
one in 50,000 has a rare word besides. Another organization has a hundredth of the jobs. A million jobs take some
minutes to make, and 2 GB. Requests go through the whole of Django, without a server, one after the other.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from voxsite.serve import embedded_redis

ROUNDS = 15
OTHERS = 100
JOBS = """
INSERT INTO transcription_job (
    id, organization_id, dialect, model, name, options, status, priority, item_count, items_left, items_failed,
    items_unverified, progress, duration_ms, rate_micros, quoted_micros, error_type, error_message, created_at,
    finished_at
)
SELECT gen_random_uuid(), %s, 'native', 'standard', 'call ' || n || '.wav', '{}',
    CASE WHEN n %% 1000 = 0 THEN 'failed' WHEN n %% 50000 = 7 THEN 'canceled' ELSE 'completed' END,
    'standard', 1, 0, 0, 0, 100, 10000, 300000, 833, '', '', now() - n * interval '7 seconds', now()
FROM generate_series(1, %s) n
"""
NAMES = """
INSERT INTO transcription_searchtext (job_id, position, number, words)
SELECT id, 0, 0, ' ' || replace(name, '.', ' ') || ' ' FROM transcription_job
"""
TRANSCRIPTS = """
INSERT INTO transcription_searchtext (job_id, position, number, words)
SELECT id, 0, 1, ' ' || (
    SELECT string_agg((ARRAY['invoice', 'late', 'good', 'morning', 'thursday', 'appointment', 'the', 'of', 'to', 'and',
        'call', 'refund', 'order', 'hello'])[1 + floor(random() * 14)::int], ' ')
    FROM generate_series(1, 100) WHERE id IS NOT NULL
) || CASE WHEN random() < 0.00002 THEN ' xylophone ' ELSE ' ' END
FROM transcription_job
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis, redis_url = embedded_redis.start(Path(folder))
        stack.callback(embedded_redis.stop, redis)
        name = f"voxsite_benchmark_{os.getpid()}"
        server = stack.enter_context(psycopg.connect(chosen.server, autocommit=True))
        server.execute(f"CREATE DATABASE {name}")
        stack.callback(server.execute, f"DROP DATABASE {name} WITH (FORCE)")
        os.environ |= {
            "VOXSITE_ENV": "development",
            "VOXSITE_DATA_DIR": folder,
            "REDIS_URL": redis_url,
            "DATABASE_URL": urlsplit(chosen.server)._replace(path=f"/{name}").geturl(),
            "DJANGO_SETTINGS_MODULE": "voxsite.settings",
            "VOXSITE_RATE_REQUESTS": "1000000/minute",
        }
        measure(chosen.jobs)


def measure(count: int) -> None:
    # Here, apex is the app and not the script beside this one.
    sys.path.remove(str(Path(__file__).parent))
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from accounts.models import Organization
    from transcription.dialects.native import listing
    from transcription.models import Job

    call_command("migrate_quickly", verbosity=0)
    many, few = (Organization.objects.create(name=name) for name in ("many", "few"))
    keys = {organization: _key_of(organization) for organization in (many, few)}
    with connection.cursor() as cursor:
        cursor.execute(JOBS, [many.pk, count])
        cursor.execute(JOBS, [few.pk, count // OTHERS])
        cursor.execute(NAMES)
        cursor.execute(TRANSCRIPTS)
        cursor.execute("VACUUM ANALYZE")

    def cursor_at(number: int) -> str:
        return listing.show_cursor(Job.objects.of(many).newest_first()[number])

    last = count - 30
    old = Job.objects.of(many).newest_first()[last].created_at.isoformat()
    middle = cursor_at(count // 2)
    print("| query | organization | median | maximum | jobs |\n| --- | --- | ---: | ---: | ---: |")
    for title, organization, query in (
        ("the first page", many, {}),
        ("`cursor` in the middle", many, {"cursor": middle}),
        ("`cursor` at the end", many, {"cursor": cursor_at(last)}),
        ("`offset` at the end", many, {"offset": last}),
        ("`created_before` at the end", many, {"created_before": old}),
        ("`status=completed`", many, {"status": "completed"}),
        ("`status=failed`", many, {"status": "failed"}),
        ("`status=processing`, none", many, {"status": "processing"}),
        ("`q`, a frequent word", many, {"q": "invoice"}),
        ("`q`, a frequent word, `cursor` in the middle", many, {"q": "invoice", "cursor": middle}),
        ("`q`, a frequent phrase", many, {"q": '"late invoice"'}),
        ("`q`, a rare word", many, {"q": "xylophone"}),
        ("`q`, a frequent word and a rare one", many, {"q": "invoice xylophone"}),
        ("`q`, a word that nobody said", many, {"q": "nonsense"}),
        ("`q`, the name of a file", many, {"q": f'"call {count // 3}.wav"'}),
        ("`q`, a frequent word", few, {"q": "invoice"}),
        ("`q`, a word that nobody said", few, {"q": "nonsense"}),
    ):
        seconds, found = _ask(query, key=keys[organization])
        print(
            f"| {title} | {organization.name} | {1000 * statistics.median(seconds):.0f} ms | "
            f"{1000 * max(seconds):.0f} ms | {found} |",
            flush=True,
        )


def _key_of(organization: Any) -> str:
    from django.utils import timezone

    from accounts import api_keys

    organization.verified_at = timezone.now()
    organization.save(update_fields=["verified_at"])
    return str(api_keys.issue(organization, name="benchmark", by=None)[1])


def _ask(query: dict[str, Any], *, key: str) -> tuple[list[float], int]:
    """Return (seconds of each request, jobs on the page)."""
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    seconds = []
    for _ in range(ROUNDS):
        began_at = time.perf_counter()
        response = client.get("/v1/jobs", query, headers={"X-API-Key": key})
        seconds.append(time.perf_counter() - began_at)
        assert response.status_code == 200, response.content
    return seconds, len(response.json()["jobs"])


if __name__ == "__main__":
    main()
