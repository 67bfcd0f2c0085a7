"""Indexes of what operators and the clock read of all organizations. Rows can be written while they are made."""

from django.db import migrations, models

from accounts.migration_operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("transcription", "0020_limit_alerts")]

    operations = [
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state", "delivered"), _negated=True),
                fields=["organization", "state", "-created_at", "-id"],
                name="webhook_log_of_faults",
            ),
        ),
        AddIndexConcurrently(model_name="job", index=models.Index(fields=["-created_at", "-id"], name="jobs_of_all")),
        AddIndexConcurrently(
            model_name="jobitem",
            index=models.Index(
                condition=models.Q(("cost_micros__gt", 0), ("status__in", ["canceled", "failed"])),
                fields=["job"],
                name="items_that_owe",
            ),
        ),
        AddIndexConcurrently(model_name="media", index=models.Index(fields=["-created_at"], name="media_of_all")),
        AddIndexConcurrently(model_name="upload", index=models.Index(fields=["-created_at"], name="uploads_of_all")),
    ]
