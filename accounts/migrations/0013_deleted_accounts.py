"""When a person's account is deleted, and when it was. Both are null for the others."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0012_closed_organizations")]

    operations = [
        migrations.AddField("user", "delete_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("user", "deleted_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddIndex(
            "user",
            models.Index(
                fields=["delete_at"],
                condition=models.Q(delete_at__isnull=False, deleted_at__isnull=True),
                name="accounts_to_delete",
            ),
        ),
    ]
