"""Processes that finish the items of one job at the same moment, outside of pytest: `finish_together.py ITEM_ID ...`.

Run by test_batches on the database that the environment names. The items were claimed. Prints one JSON object.
"""

import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 60


def finish(item_id: str, start: Any, results: Any) -> None:
    """Finish one item once all processes are ready, and put whether that counted."""
    from django.db import connection

    from tests.transcription.factories import make_transcript
    from transcription import jobs
    from transcription.models import JobItem

    try:
        item = JobItem.objects.select_related("job", "media").get(pk=item_id)
        start.wait(timeout=PATIENCE_SECONDS)
        results.put(jobs.finish_item(item, transcript=make_transcript()))
    except BaseException:
        results.put(False)
        raise
    finally:
        connection.close()


def main(*item_ids: str) -> None:
    import django

    django.setup()
    # Forked before the first connection is made, so that none is shared.
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(len(item_ids)), context.Queue()
    processes = [context.Process(target=finish, args=(item_id, start, results)) for item_id in item_ids]
    for process in processes:
        process.start()
    finished = [results.get(timeout=PATIENCE_SECONDS) for _ in processes]
    for process in processes:
        process.join()

    from billing import ledger
    from billing.models import Entry, EntryKind
    from transcription.models import JobItem

    job = JobItem.objects.get(pk=item_ids[0]).job
    report = {
        "finished": sum(finished),
        "status": job.status,
        "items_left": job.items_left,
        "cost_micros": job.cost_micros,
        "entries": Entry.objects.of(job.organization).filter(kind=EntryKind.USAGE).count(),
        "faults": ledger.verify(ledger.wallet_of(job.organization)),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    main(*sys.argv[1:])
