"""Tags of charges, in a table of their own. Nothing that exists is read or locked, except for the foreign key to entries,
which takes a short lock that lets readers through.
"""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0021_raised_limits_and_spend_alerts")]

    operations = [
        migrations.CreateModel(
            name="ChargeTag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=64)),
                ("value", models.CharField(max_length=128)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "entry",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tags",
                        to="billing.entry",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["created_at"], name="tags_by_time")],
                "constraints": [
                    models.UniqueConstraint(fields=("entry", "name"), name="one_tag_of_a_name_per_charge"),
                    models.CheckConstraint(condition=~models.Q(name=""), name="tag_has_a_name"),
                ],
            },
        ),
    ]
