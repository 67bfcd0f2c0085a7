"""What tokens have spent, and which holds are of them."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_tokens"),
        ("billing", "0022_charge_tags"),
    ]

    operations = [
        migrations.AddField(
            model_name="hold",
            name="token_id",
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.CreateModel(
            name="TokenSpend",
            fields=[
                (
                    "token",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="accounts.apikey",
                    ),
                ),
                ("spent_micros", models.BigIntegerField(default=0)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("spent_micros__gte", 0)), name="token_spend_is_not_negative"
                    )
                ],
            },
        ),
    ]
