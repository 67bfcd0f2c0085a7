"""Release the database connection before a slow operation.

To open one costs 13 ms on a busy machine, most of it in PostgreSQL, so a process without a pool keeps its own through
work of seconds.
"""

from django.db import connection


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
