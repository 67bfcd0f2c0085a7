"""A job of many items from submission to its end: seconds, statements and rows of each part, at growing counts.

Usage: script/benchmark batch [postgresql://USER@HOST:PORT/ANY] [--counts 100 1000 10000] [--alone]

Makes a database of its own on that server and drops it afterwards; without a server, a file of SQLite. Nothing is
recognised: each item is claimed and finished as a worker does it, one after the other, with a transcript of one word.
The second table is what a user would pick instead: as many jobs of one item.

What is linear has the same figures per item at each count. "rows" are jobs, items and recordings that became objects of
this process.
"""

import argparse
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from voxsite.serve import embedded_redis

KINDS = (("one job of N items", True), ("N jobs of one item", False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", nargs="?", default="")
    parser.add_argument("--alone", action="store_true", help="only the one job")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1_000, 10_000])
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis, redis_url = embedded_redis.start(Path(folder))
        stack.callback(embedded_redis.stop, redis)
        os.environ |= {
            "VOXSITE_ENV": "development",
            "VOXSITE_DATA_DIR": folder,
            "REDIS_URL": redis_url,
            "DJANGO_SETTINGS_MODULE": "voxsite.settings",
        }
        if chosen.server:
            name = f"voxsite_benchmark_{os.getpid()}"
            server = stack.enter_context(psycopg.connect(chosen.server, autocommit=True))
            server.execute(f"CREATE DATABASE {name}")
            stack.callback(server.execute, f"DROP DATABASE {name} WITH (FORCE)")
            os.environ["DATABASE_URL"] = urlsplit(chosen.server)._replace(path=f"/{name}").geturl()
        measure(chosen.counts, kinds=KINDS[:1] if chosen.alone else KINDS)


def measure(counts: list[int], *, kinds: tuple[tuple[str, bool], ...]) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from accounts.models import Organization
    from billing import ledger
    from billing.models import EntryKind

    call_command("migrate_quickly", verbosity=0)
    organization = Organization.objects.create(name="Benchmark")
    ledger.credit(organization, amount_micros=10**15, kind=EntryKind.CREDIT, reference="benchmark")
    head = "  ".join(f"{part:>26}" for part in ("submit", "claim and finish", "delete"))
    for title, is_batch in kinds:
        print(f"{title}, per item: milliseconds, statements, rows ({connection.vendor})\n{'N':>7}{head}")
        for count in counts:
            figures = _run(organization, count, is_batch=is_batch)
            parts = (f"{ms:.2f} ms {statements:6.2f} {rows:6.2f}" for ms, statements, rows in figures)
            print(f"{count:7}" + "  ".join(f"{part:>26}" for part in parts), flush=True)
    connection.close()


def _run(organization: Any, count: int, *, is_batch: bool) -> list[tuple[float, float, float]]:
    """Return, of each part, milliseconds, statements and rows per item."""
    from transcription import jobs
    from transcription.models import Job, JobItem, Priority
    from transcription.speech.options import TranscriptionOptions

    recordings = _recordings(organization, count)
    submission = jobs.Submission(
        organization=organization,
        model="standard",
        options=TranscriptionOptions(),
        dialect="native",
        priority=Priority.BULK,
    )
    made: list[Job] = []

    def submit() -> None:
        if is_batch:
            made.append(jobs.submit_batch(submission, recordings=recordings, name="all"))
        else:
            made.extend(jobs.submit(submission, media=media) for media in recordings)

    def finish() -> None:
        for item_id in JobItem.objects.filter(job__in=made).order_by("position").values_list("pk", flat=True):
            item = jobs.claim(item_id)
            assert item is not None
            assert jobs.finish_item(item, transcript=_transcript())

    def delete() -> None:
        for job in made:
            jobs.delete(job)

    figures = [_measured(part, count) for part in (submit, finish)]
    made[:] = Job.objects.filter(pk__in=[job.pk for job in made])
    assert {job.status for job in made} == {"completed"}
    assert sum(job.cost_micros for job in made) > 0
    return [*figures, _measured(delete, count)]


def _measured(part: Callable[[], None], count: int) -> tuple[float, float, float]:
    with _counted() as counts:
        started = time.perf_counter()
        part()
        seconds = time.perf_counter() - started
    return 1000 * seconds / count, counts["statements"] / count, counts["rows"] / count


@contextmanager
def _counted() -> Iterator[dict[str, int]]:
    from django.db import connection
    from django.db.models.signals import post_init

    from transcription.models import Job, JobItem, Media

    counts = {"statements": 0, "rows": 0}

    def count_row(sender: Any, **_: Any) -> None:
        counts["rows"] += sender in {Job, JobItem, Media}

    def count_statement(execute: Callable[..., Any], *args: Any) -> Any:
        counts["statements"] += 1
        return execute(*args)

    post_init.connect(count_row)
    try:
        with connection.execute_wrapper(count_statement):
            yield counts
    finally:
        post_init.disconnect(count_row)


def _recordings(organization: Any, count: int) -> list[Any]:
    from transcription.models import Media

    made = []
    for _ in range(count):
        media_id = uuid.uuid4()
        key = f"media/{organization.pk}/{media_id}"
        fields = {"name": "call.wav", "size_bytes": 1, "sha256": "0" * 64, "container": "wav", "codec": "pcm_s16le"}
        made.append(Media(id=media_id, organization=organization, storage_key=key, duration_ms=10_000, **fields))
    return Media.objects.bulk_create(made, batch_size=500)


def _transcript() -> Any:
    from transcription.speech.transcript import Segment, Transcript, Word

    word = Word(text="hello", start_ms=0, end_ms=300, probability=0.9)
    return Transcript(
        language="en",
        language_probability=None,
        duration_ms=10_000,
        segments=(Segment(start_ms=0, end_ms=300, text="hello", words=(word,)),),
        engine="benchmark",
        diarizer="none",
        notes=(),
    )


if __name__ == "__main__":
    main()
