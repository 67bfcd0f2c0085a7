"""Operations of migrations that keep nobody waiting: indexes of tables that may be large. SQLite, which has one writer
at a time anyway, makes them as always. The migration has `atomic = False`, so on any database an interrupted one has
left indexes, and is run again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddIndex
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState


class AddIndexConcurrently(AddIndex):
    """Add an index. On PostgreSQL, rows can be written meanwhile.

    One that was begun and not finished, as a lost connection leaves it, is dropped first: it is of no use. A finished
    one of an interrupted migration stays.
    """

    atomic = False

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor != "postgresql":
            schema_editor.execute(f"DROP INDEX IF EXISTS {schema_editor.quote_name(self.index.name)}")
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        elif self.allow_migrate_model(schema_editor.connection.alias, model):
            with _concurrent(schema_editor, name=self.index.name) as is_wanted:
                if is_wanted:
                    schema_editor.add_index(model, self.index, concurrently=True)  # type: ignore[call-arg]

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor != "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
        elif self.allow_migrate_model(schema_editor.connection.alias, model):
            with _without_lock_timeout(schema_editor):
                schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")


class AddBeginningIndex(Operation):
    """Add an index by which PostgreSQL finds texts by how they begin, whatever their case (`istartswith`).

    It is no part of the model: SQLite has none, and finds the same rows without it.
    """

    reversible = True
    atomic = False

    def __init__(self, model_name: str, *, field: str, name: str) -> None:
        self.model_name, self.field, self.name = model_name, field, name

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.model_name], {"field": self.field, "name": self.name}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        pass

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if schema_editor.connection.vendor == "postgresql":
            model: type[models.Model] = to_state.apps.get_model(app_label, self.model_name)
            field: Any = model._meta.get_field(self.field)
            column = schema_editor.quote_name(field.column)
            table, name = schema_editor.quote_name(model._meta.db_table), schema_editor.quote_name(self.name)
            with _concurrent(schema_editor, name=self.name) as is_wanted:
                if is_wanted:
                    schema_editor.execute(
                        f"CREATE INDEX CONCURRENTLY {name} ON {table} (UPPER({column}::text) text_pattern_ops)"
                    )

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if schema_editor.connection.vendor == "postgresql":
            with _without_lock_timeout(schema_editor):
                schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.name)}")

    def describe(self) -> str:
        return f"Find {self.model_name} by how {self.field} begins"


@contextmanager
def _concurrent(schema_editor: BaseDatabaseSchemaEditor, *, name: str) -> Iterator[bool]:
    """Drop an index of this name that is not valid. Gives whether one is to be made."""
    with _without_lock_timeout(schema_editor):
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [schema_editor.quote_name(name)]
            )
            is_valid = cursor.fetchone() == (True,)
        if not is_valid:
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")
        yield not is_valid


@contextmanager
def _without_lock_timeout(schema_editor: BaseDatabaseSchemaEditor) -> Iterator[None]:
    """Wait for as long as it takes, and block nobody: a concurrent statement waits for all older transactions.

    The time-out with which operators run `migrate` is for statements that keep others waiting.
    """
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        (before,) = cursor.fetchone()
        cursor.execute("SET lock_timeout = 0")
    try:
        yield
    finally:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])
