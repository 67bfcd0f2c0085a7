"""What was done in organizations: a new, empty table."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0016_mails_about_money"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("created_at", models.DateTimeField()),
                ("action", models.CharField(max_length=40)),
                ("subject", models.CharField(blank=True, max_length=300)),
                ("address", models.CharField(blank=True, max_length=254)),
                ("job_id", models.UUIDField(null=True)),
                ("key_id", models.UUIDField(null=True)),
                ("request_id", models.CharField(blank=True, max_length=128)),
                (
                    "operator",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.organization",
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "indexes": [
                    models.Index(fields=["organization", "-id"], name="audit_list"),
                    models.Index(fields=["created_at"], name="audit_age"),
                    models.Index(
                        condition=models.Q(("address", ""), _negated=True), fields=["address"], name="audit_addresses"
                    ),
                ],
            },
        ),
    ]
