"""The log of API requests: a new, empty table."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0013_deleted_accounts")]

    operations = [
        migrations.CreateModel(
            name="ApiRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("created_at", models.DateTimeField()),
                ("key_id", models.UUIDField()),
                ("token_id", models.UUIDField(null=True)),
                ("job_id", models.UUIDField(null=True)),
                ("method", models.CharField(max_length=10)),
                ("path", models.CharField(max_length=200)),
                ("status", models.PositiveSmallIntegerField()),
                ("error_type", models.CharField(blank=True, max_length=64)),
                ("request_id", models.CharField(max_length=128)),
                ("duration_ms", models.PositiveIntegerField()),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.organization",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["organization", "-id"], name="request_list"),
                    models.Index(fields=["organization", "key_id", "-id"], name="requests_of_key"),
                    models.Index(
                        fields=["organization", "-id"], condition=models.Q(status__gte=400), name="failed_requests"
                    ),
                    models.Index(fields=["organization", "request_id"], name="requests_by_id"),
                    models.Index(
                        fields=["organization", "job_id"],
                        condition=models.Q(job_id__isnull=False),
                        name="requests_of_job",
                    ),
                    models.Index(fields=["created_at"], name="request_age"),
                ],
            },
        ),
    ]
