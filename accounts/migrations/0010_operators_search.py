"""Indexes by which operators find keys, people and organizations. Rows can be written while they are made."""

from django.db import migrations, models

from accounts.migration_operations import AddBeginningIndex, AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("accounts", "0009_tokens")]

    operations = [
        AddIndexConcurrently(model_name="apikey", index=models.Index(fields=["prefix"], name="api_keys_by_prefix")),
        AddBeginningIndex("organization", field="name", name="organizations_by_beginning"),
        AddBeginningIndex("user", field="email", name="users_by_beginning"),
    ]
