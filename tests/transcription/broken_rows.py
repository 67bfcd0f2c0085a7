"""Rows that the database refuses to change or to delete, as it does for a reason that nobody thought of."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.models import Model

_POSTGRESQL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$;
CREATE TRIGGER refuses BEFORE {act} ON {table} FOR EACH ROW WHEN (OLD.id = '{id}') EXECUTE FUNCTION refuse();
"""
_SQLITE = """
CREATE TRIGGER refuses BEFORE {act} ON {table} WHEN OLD.id = '{id.hex}' BEGIN SELECT RAISE(ABORT, 'broken'); END
"""


@contextmanager
def broken(row: Model, *, act: str) -> Iterator[None]:
    """Have the database refuse to UPDATE or to DELETE one row, whose id is a UUID."""
    is_postgresql = connection.vendor == "postgresql"
    made = _POSTGRESQL if is_postgresql else _SQLITE
    table = row._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(made.format(act=act, table=table, id=row.pk))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse() CASCADE" if is_postgresql else "DROP TRIGGER refuses")
