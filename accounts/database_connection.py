"""Release the database connection before a slow operation, and share connections between threads.

To open one costs 13 ms on a busy machine, most of it in PostgreSQL, so a process without a pool keeps its own through
work of seconds.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections

# How long a thread waits for a connection of the pool while others have all of them.
WAIT_SECONDS = 20


def release() -> None:
    """Close this thread's database connection (with a pool: return it), unless a transaction is open.

    The next query opens another one (with a pool: takes one). Django's `close_old_connections` would break an open
    transaction.
    """
    if not connection.in_atomic_block:
        connection.close()


def release_to_pool() -> None:
    """Return this thread's database connection to the pool before an operation that is short as a rule.

    Without a pool it stays open. Whoever calls this must survive that it is cut meanwhile.
    """
    if connection.settings_dict["OPTIONS"].get("pool"):
        release()


def is_kept() -> bool:
    """Tell whether this thread has a connection of a pool, and no other one waits for such a connection now."""
    pool: Any = getattr(connection, "pool", None)
    return pool is not None and connection.connection is not None and not pool.is_waited_for


def leave_ended() -> None:
    """Close this thread's connection if the server has ended it meanwhile. The next query opens another one."""
    if getattr(connection.connection, "has_ended", False):
        connection.close()


def share(*, max_size: int) -> None:
    """Give the threads of this process a pool of so many connections to PostgreSQL. 0: none.

    A process calls it before its threads ask the database, and after the last fork, which must not inherit a pool. So
    it is not in the settings, which the supervisor reads before it forks.
    """
    database = connections.settings[DEFAULT_DB_ALIAS]
    if max_size and database["ENGINE"] == "voxsite.postgresql":
        database["OPTIONS"]["pool"] = {"min_size": 1, "max_size": max_size, "timeout": WAIT_SECONDS}
