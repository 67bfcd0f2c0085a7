"""Indexes for the duty that looks every minute for payments and refunds of the last day. Writes go on meanwhile."""

from django.db import migrations, models

from accounts.migration_operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("billing", "0027_credited_addresses")]

    operations = [
        AddIndexConcurrently(
            model_name="topup",
            index=models.Index(condition=models.Q(("paid_at__isnull", False)), fields=["paid_at"], name="paid_topups"),
        ),
        AddIndexConcurrently(
            model_name="refund",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", False)), fields=["ended_at"], name="ended_refunds"
            ),
        ),
    ]
