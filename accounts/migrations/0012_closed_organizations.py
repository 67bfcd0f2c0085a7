"""When an owner has closed an organization, and when the clock deletes it. All are null for open ones.

The index is made as always: no row is in it yet, and there are few organizations.
"""

from django.db import migrations, models

IS_OPEN = models.Q(closed_at__isnull=True, delete_at__isnull=True, deleted_at__isnull=True)
IS_CLOSED = models.Q(closed_at__isnull=False, delete_at__isnull=False)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0010_operators_search")]

    operations = [
        migrations.AddField("organization", "closed_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("organization", "delete_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("organization", "deleted_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddConstraint(
            "organization",
            models.CheckConstraint(condition=IS_OPEN | IS_CLOSED, name="organization_is_closed_before_it_is_deleted"),
        ),
        migrations.AddIndex(
            "organization",
            models.Index(
                fields=["delete_at"],
                condition=models.Q(delete_at__isnull=False, deleted_at__isnull=True),
                name="organizations_to_delete",
            ),
        ),
    ]
