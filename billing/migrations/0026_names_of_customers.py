"""Which customers Stripe is to be told a new name of. The column is null, for which PostgreSQL writes no row."""

from django.db import migrations, models

from accounts.migration_operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("billing", "0025_tags_of_work")]

    operations = [
        migrations.AddField(
            model_name="customer",
            name="name_due_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        AddIndexConcurrently(
            model_name="customer",
            index=models.Index(
                condition=models.Q(("name_due_at__isnull", False)), fields=["name_due_at"], name="customers_to_rename"
            ),
        ),
    ]
