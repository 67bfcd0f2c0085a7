"""Limits that are raised for a time, and alerts about parts of limits.

PostgreSQL: the columns are null, so no row is written; the constraint reads the wallets, one row for each organization.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_raised_limits"),
        ("billing", "0020_automatic_topup_target"),
    ]

    operations = [
        migrations.CreateModel(
            name="SpendAlert",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("percent", models.PositiveSmallIntegerField()),
            ],
        ),
        migrations.AddField(
            model_name="wallet",
            name="raised_limit_micros",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="wallet",
            name="raised_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("raised_limit_micros__isnull", True), ("raised_until__isnull", True)),
                    models.Q(
                        ("raised_limit_micros__gte", models.F("monthly_limit_micros")),
                        ("raised_limit_micros__isnull", False),
                        ("raised_until__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="wallet_raise_ends",
            ),
        ),
        migrations.AddField(
            model_name="spendalert",
            name="api_key",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="accounts.apikey",
            ),
        ),
        migrations.AddField(
            model_name="spendalert",
            name="wallet",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="spend_alerts",
                to="billing.wallet",
            ),
        ),
        migrations.AddConstraint(
            model_name="spendalert",
            constraint=models.UniqueConstraint(
                condition=models.Q(("api_key__isnull", True)),
                fields=("wallet", "percent"),
                name="one_alert_per_wallet_and_percent",
            ),
        ),
        migrations.AddConstraint(
            model_name="spendalert",
            constraint=models.UniqueConstraint(
                condition=models.Q(("api_key__isnull", False)),
                fields=("wallet", "api_key", "percent"),
                name="one_alert_per_key_and_percent",
            ),
        ),
        migrations.AddConstraint(
            model_name="spendalert",
            constraint=models.CheckConstraint(
                condition=models.Q(("percent__gte", 1), ("percent__lte", 100)), name="alert_is_a_part"
            ),
        ),
    ]
