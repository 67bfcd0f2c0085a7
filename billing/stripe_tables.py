"""dj-stripe's tables in one piece, for databases that are new: its own migrations make and remake them for 46 s.

The tables are those of its models, and so those that its migrations end with (tests/billing/test_stripe_tables.py
compares them). Once they stand, its migrations are recorded as done, and later ones run as on any other database.
"""

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

APP = "djstripe"


def create(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make all tables. The tables of `accounts` must stand already."""
    for model in apps.get_app_config(APP).get_models():
        schema_editor.create_model(model)


def are_missing(database: str = DEFAULT_DB_ALIAS) -> bool:
    """Tell whether the database has never known dj-stripe: no table of it, and no migration recorded."""
    connection = connections[database]
    is_recorded = any(app == APP for app, _ in MigrationRecorder(connection).applied_migrations())
    return not is_recorded and not any(table.startswith(f"{APP}_") for table in connection.introspection.table_names())


def create_and_record(database: str = DEFAULT_DB_ALIAS) -> None:
    """Make all tables and record all of its migrations as done."""
    connection = connections[database]
    recorder = MigrationRecorder(connection)
    recorder.ensure_schema()
    with connection.schema_editor() as schema_editor:
        create(schema_editor)
        for app, name in MigrationLoader(connection).disk_migrations:
            if app == APP:
                recorder.record_applied(app, name)
