"""A task for workers under test. It imports next to nothing, so that it takes no time."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from django.db import connection
from rq import get_current_job

from accounts import database_connection


def note(path: str) -> None:
    """Write the id of the process that does it."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


def outlive_its_record() -> None:
    """Leave of RQ's record what a worker has written that stood still while it expired."""
    task = get_current_job()
    assert task is not None
    for execution in task.get_executions():
        with execution.connection.pipeline() as pipeline:
            pipeline.delete(execution.key)
            pipeline.hset(execution.key, "last_heartbeat", 1.0)
            pipeline.execute()


def note_sessions(path: str) -> None:
    """Write how many sessions of PostgreSQL 16 threads used that each ask five times, with pauses."""

    def ask(_: int) -> set[int]:
        sessions = set()
        for _ in range(5):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                sessions.add(cursor.fetchone()[0])
            database_connection.release()
        return sessions

    with ThreadPoolExecutor(16) as threads:
        Path(path).write_text(str(len(set().union(*threads.map(ask, range(16))))))
