"""Release the database connection before a slow operation."""

from django.db import connection


def release() -> None:
    """Close this thread's database connection (with a pool: return it), unless a transaction is open.

    The next query opens another one (with a pool: takes one). Django's `close_old_connections` would break an open
    transaction.
    """
    if not connection.in_atomic_block:
        connection.close()
