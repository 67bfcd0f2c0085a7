"""Statistics of what entries are filtered and grouped by, for PostgreSQL's planner. It keeps none of the partial indexes'
expressions, took each key and model for one in 200 entries, and so sorted all entries of a key for each thousand lines
of a CSV file. Neither statement keeps anybody from reading or writing.
"""

from django.db import migrations

STATEMENTS = (
    "CREATE STATISTICS IF NOT EXISTS entry_details (ndistinct) ON (details ->> 'model'), (details ->> 'api_key_id'), "
    "((created_at AT TIME ZONE 'UTC')::date) FROM billing_entry",
    "ANALYZE billing_entry",
)


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for statement in STATEMENTS:
            schema_editor.execute(statement)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP STATISTICS IF EXISTS entry_details")


class Migration(migrations.Migration):
    dependencies = [("billing", "0023_token_spend")]

    operations = [migrations.RunPython(create, drop)]
