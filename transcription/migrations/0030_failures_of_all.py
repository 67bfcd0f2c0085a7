"""Indexes of the failures that operators look at, of all organizations. Rows can be written while they are made."""

from django.db import migrations, models

from accounts.migration_operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("transcription", "0029_intake_pauses")]

    operations = [
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state", "failed")), fields=["-created_at"], name="failed_webhooks_by_time"
            ),
        ),
        AddIndexConcurrently(
            model_name="jobitem",
            index=models.Index(
                condition=models.Q(("status", "failed")), fields=["-finished_at"], name="failed_items_by_time"
            ),
        ),
    ]
