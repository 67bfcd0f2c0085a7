"""Workers that do the same thing at the same moment, on the database of the running test.

They are threads of this process, or processes. A fork server makes the processes: it has set Django up and loaded the
site once, before it opened any connection. So each worker has a connection of its own.
"""

import multiprocessing
import pickle
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

WORKER_COUNT = 8
# SQLite lets one writer in at a time, and the others retry at intervals. No worker may wait longer than this.
LONGEST_SECONDS = 120

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.loaded_site"])


def contend(work: Callable[..., Any], *arguments: Any, kind: str, worker_count: int = WORKER_COUNT) -> list[Any]:
    """Call `work(*arguments, worker)` in all workers at once, and return what the calls returned.

    work: a function that can be imported. Each worker gets copies of the arguments. kind: "processes" or "threads".
    Needs a test whose rows are committed: `django_db(transaction=True)`.
    """
    task = pickle.dumps((work, arguments))
    start: Any
    results: Any
    if kind == "processes":
        start, results = _forks.Barrier(worker_count), _forks.Queue()
        site = (connection.settings_dict["NAME"], settings.STRIPE_SANDBOX_FILE)
        workers: list[Any] = [
            _forks.Process(target=_work_in_process, args=(site, task, worker, start, results))
            for worker in range(worker_count)
        ]
    else:
        start, results = threading.Barrier(worker_count), queue.Queue()
        workers = [
            threading.Thread(target=_work, args=(task, worker, start, results)) for worker in range(worker_count)
        ]
    for worker in workers:
        worker.start()
    ended = [results.get(timeout=LONGEST_SECONDS) for _ in workers]
    for worker in workers:
        worker.join()
    errors = [error for _, error in ended if error]
    assert not errors, errors
    return [returned for returned, _ in ended]


def wait_until_one_waits_for_us() -> None:
    """Return once another connection waits for a lock that the transaction of this thread has. PostgreSQL only."""
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
            if cursor.fetchone():
                return
        time.sleep(0.02)
    pytest.fail("nobody waits")


def _work_in_process(site: tuple[str, str], task: bytes, worker: int, start: Any, results: Any) -> None:
    connection.settings_dict["NAME"], settings.STRIPE_SANDBOX_FILE = site
    _work(task, worker, start, results)


def _work(task: bytes, worker: int, start: Any, results: Any) -> None:
    """Put (what the call returned, text of the error that ended it)."""
    try:
        work, arguments = pickle.loads(task)
        connection.ensure_connection()
        start.wait(timeout=LONGEST_SECONDS)
        results.put((work(*arguments, worker), ""))
    except BaseException as error:
        start.abort()
        results.put((None, repr(error)))
    finally:
        connection.close()
