"""A task for workers under test. It imports next to nothing, so that it takes no time."""

import os
from pathlib import Path

from rq import get_current_job


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
