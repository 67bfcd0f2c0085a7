"""Rows that the database refuses to change or to delete, as it does for a reason that nobody thought of."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.models import Model

_POSTGRESQL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$;
CREATE TRIGGER refuses BEFORE {act} ON {table} FOR EACH ROW WHEN (OLD.id = {id}) EXECUTE FUNCTION refuse();
"""
_SQLITE = """
CREATE TRIGGER refuses BEFORE {act} ON {table} WHEN OLD.id = {id} BEGIN SELECT RAISE(ABORT, 'broken'); END
"""


@contextmanager
def broken(row: Model, *, act: str) -> Iterator[None]:
    """Have the database refuse to UPDATE or to DELETE one row."""
    is_postgresql = connection.vendor == "postgresql"
    made = _POSTGRESQL if is_postgresql else _SQLITE
    # SQLite compares a number with a text as what they are.
    text = row.pk.hex if isinstance(row.pk, uuid.UUID) and not is_postgresql else row.pk
    shown = text if isinstance(text, int) else f"'{text}'"
    with connection.cursor() as cursor:
        cursor.execute(made.format(act=act, table=row._meta.db_table, id=shown))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse() CASCADE" if is_postgresql else "DROP TRIGGER refuses")
