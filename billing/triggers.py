"""Triggers that make the ledger append-only: no writer, by no means, can change or remove an entry.

On SQLite a migration that alters the table drops it with its triggers: such a migration ends with `create`.
"""

from django.db.backends.base.base import BaseDatabaseWrapper

APPEND_ONLY_TABLES = ("billing_entry",)


def create(connection: BaseDatabaseWrapper, *, tables: tuple[str, ...] = APPEND_ONLY_TABLES) -> None:
    """Refuse UPDATE, DELETE (and TRUNCATE on PostgreSQL) on the tables, as an IntegrityError. May be repeated.

    tables: a migration names its own, because later ones do not exist yet when it runs.
    """
    drop(connection, tables=tables)
    statements = _CREATE[connection.vendor]
    _execute(connection, statements=_PREPARE[connection.vendor])
    for table in tables:
        _execute(connection, statements=tuple(statement.format(table=table) for statement in statements))


def drop(connection: BaseDatabaseWrapper, *, tables: tuple[str, ...] = APPEND_ONLY_TABLES) -> None:
    """Allow changes again: for migrations, and for tests that empty all tables."""
    for table in tables:
        _execute(connection, statements=tuple(s.format(table=table) for s in _DROP[connection.vendor]))


def _execute(connection: BaseDatabaseWrapper, *, statements: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


# By vendor. `{table}` is ours, never a caller's text.
_PREPARE: dict[str, tuple[str, ...]] = {
    "sqlite": (),
    "postgresql": (
        """CREATE OR REPLACE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
        END $$""",
    ),
}
_CREATE: dict[str, tuple[str, ...]] = {
    "sqlite": (
        """CREATE TRIGGER {table}_refuses_update BEFORE UPDATE ON {table}
        BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END""",
        """CREATE TRIGGER {table}_refuses_delete BEFORE DELETE ON {table}
        BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END""",
        # REPLACE removes the row that is in its way without firing DELETE triggers, unless recursive triggers are on
        # (sqlite.org/lang_conflict.html).
        """CREATE TRIGGER {table}_refuses_replace BEFORE INSERT ON {table}
        WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)
            OR EXISTS (SELECT 1 FROM {table} WHERE kind = NEW.kind AND reference = NEW.reference)
        BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END""",
    ),
    "postgresql": (
        """CREATE TRIGGER {table}_refuses_change BEFORE UPDATE OR DELETE ON {table}
        FOR EACH ROW EXECUTE FUNCTION billing_refuse_change()""",
        """CREATE TRIGGER {table}_refuses_truncate BEFORE TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change()""",
    ),
}
_DROP: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "DROP TRIGGER IF EXISTS {table}_refuses_update",
        "DROP TRIGGER IF EXISTS {table}_refuses_delete",
        "DROP TRIGGER IF EXISTS {table}_refuses_replace",
    ),
    "postgresql": (
        "DROP TRIGGER IF EXISTS {table}_refuses_change ON {table}",
        "DROP TRIGGER IF EXISTS {table}_refuses_truncate ON {table}",
    ),
}
