"""Makes dj-stripe's tables as its models are now, so it is never out of date.

Its own migrations make and remake 62 tables for 46 s. No migration of ours refers to its models, so the state that
migrations hand on need not know them.
"""

from django.db import migrations

from billing import stripe_tables


class Migration(migrations.Migration):
    initial = True
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunPython(lambda _, schema_editor: stripe_tables.create(schema_editor))]
