"""Giving the database connection back before something slow."""

from django.db import connection


def release() -> None:
    """Close this thread's database connection (with a pool: give it back), unless a transaction is open.

    The next query opens or takes another. Django's `close_old_connections` would break an open transaction.
    """
    if not connection.in_atomic_block:
        connection.close()
