"""Automatic top-up to a target.

PostgreSQL: the column is null, so no row is written; the constraints read a table of one row for each organization that
has ever turned it on. Processes of the version before leave the column null, which is what they mean.
"""

from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    dependencies = [("billing", "0016_unmatched_events")]

    operations = [
        migrations.AddField(
            model_name="automatictopup",
            name="target_cents",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.RemoveConstraint(model_name="automatictopup", name="automatic_topup_fits_its_cap"),
        migrations.AddConstraint(
            model_name="automatictopup",
            constraint=models.CheckConstraint(
                condition=Q(target_cents__isnull=False) | Q(monthly_cap_cents__gte=F("amount_cents")),
                name="automatic_topup_fits_its_cap",
            ),
        ),
        migrations.AddConstraint(
            model_name="automatictopup",
            constraint=models.CheckConstraint(
                condition=Q(target_cents__isnull=True)
                | Q(target_cents__isnull=False, target_cents__gt=F("threshold_cents")),
                name="automatic_topup_target_is_above_threshold",
            ),
        ),
    ]
