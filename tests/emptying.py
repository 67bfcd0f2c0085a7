"""Empties the database after a test that commits."""

from contextlib import ExitStack

from django.db import connection

from billing import triggers
from tests.billing.append_only import triggers_suspended

# Written once, when the database is made.
KEPT = {"django_migrations", "django_content_type", "auth_permission"}


def empty_tables() -> None:
    """Delete all rows that tests have written.

    Django's `flush` empties all 110 tables, filled or not, and then writes the content types and permissions of all
    models again.
    """
    with connection.cursor() as cursor:
        tables = sorted(set(connection.introspection.table_names(cursor)) - KEPT)
        names = {table: connection.ops.quote_name(table) for table in tables}
        cursor.execute(
            " UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {names[table]})" for table in tables)
        )
        filled = [table for (table,) in cursor.fetchall()]
    with ExitStack() as stack:
        if set(filled) & set(triggers.APPEND_ONLY_TABLES):
            stack.enter_context(triggers_suspended())
        # In one transaction, at whose end the foreign keys are checked.
        connection.ops.execute_sql_flush([f"DELETE FROM {names[table]}" for table in filled])
