from django.db import migrations

from billing import triggers

TABLES = ("billing_entry",)


def create(apps, schema_editor):
    triggers.create(schema_editor.connection, tables=TABLES)


def drop(apps, schema_editor):
    triggers.drop(schema_editor.connection, tables=TABLES)


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_ledger")]

    operations = [migrations.RunPython(create, drop)]
