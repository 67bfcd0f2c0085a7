import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from billing import triggers

TABLES = ("billing_entry",)


def create_triggers(apps, schema_editor):
    # SQLite has made the altered table anew, without them.
    triggers.create(schema_editor.connection, tables=TABLES)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("billing", "0003_reading_indexes"),
    ]

    operations = [
        # Going back, this one is the last.
        migrations.RunPython(migrations.RunPython.noop, create_triggers),
        migrations.CreateModel(
            name="Freeze",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reason", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("lifted_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="MonthlySpend",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField()),
                ("spent_micros", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=40)),
                ("occasion_at", models.DateTimeField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="entry",
            name="entry_sign_fits_kind",
        ),
        migrations.RemoveConstraint(
            model_name="wallet",
            name="wallet_held_is_within_balance",
        ),
        migrations.AddField(
            model_name="hold",
            name="api_key",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.apikey",
            ),
        ),
        migrations.AddField(
            model_name="hold",
            name="charged_micros",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="hold",
            name="month",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="wallet",
            name="expired_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="wallet",
            name="frozen_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="wallet",
            name="last_activity_at",
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
        migrations.AddField(
            model_name="wallet",
            name="low_balance_micros",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="wallet",
            name="low_since",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="wallet",
            name="monthly_limit_micros",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="entry",
            name="kind",
            field=models.CharField(
                choices=[
                    ("payment", "Payment"),
                    ("bonus", "Bonus"),
                    ("credit", "Credit"),
                    ("usage", "Usage"),
                    ("refund", "Refund"),
                    ("refund_reversal", "Refund reversed"),
                    ("dispute", "Dispute"),
                    ("dispute_reversal", "Dispute reversed"),
                    ("expiry", "Expiry"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddIndex(
            model_name="wallet",
            index=models.Index(
                condition=models.Q(("balance_micros__gt", 0)), fields=["last_activity_at"], name="wallet_by_activity"
            ),
        ),
        migrations.AddIndex(
            model_name="wallet",
            index=models.Index(
                condition=models.Q(("low_since__isnull", False)), fields=["low_since"], name="wallet_low"
            ),
        ),
        migrations.AddConstraint(
            model_name="entry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("amount_micros__gt", 0),
                        ("kind__in", ["payment", "bonus", "credit", "refund_reversal", "dispute_reversal"]),
                    ),
                    models.Q(("amount_micros__lt", 0), ("kind__in", ["usage", "refund", "dispute", "expiry"])),
                    _connector="OR",
                ),
                name="entry_sign_fits_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("held_micros__lte", models.F("balance_micros")), ("frozen_at__isnull", False), _connector="OR"
                ),
                name="wallet_is_overdrawn_only_while_frozen",
            ),
        ),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("monthly_limit_micros__isnull", True), ("monthly_limit_micros__gte", 0), _connector="OR"
                ),
                name="wallet_limit_is_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("low_balance_micros__isnull", True), ("low_balance_micros__gt", 0), _connector="OR"
                ),
                name="wallet_low_balance_is_positive",
            ),
        ),
        migrations.AddField(
            model_name="freeze",
            name="wallet",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="freezes", to="billing.wallet"
            ),
        ),
        migrations.AddField(
            model_name="monthlyspend",
            name="api_key",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.apikey",
            ),
        ),
        migrations.AddField(
            model_name="monthlyspend",
            name="wallet",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="monthly_spends",
                to="billing.wallet",
            ),
        ),
        migrations.AddField(
            model_name="notice",
            name="wallet",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="notices", to="billing.wallet"
            ),
        ),
        migrations.AddConstraint(
            model_name="freeze",
            constraint=models.UniqueConstraint(
                condition=models.Q(("lifted_at__isnull", True)),
                fields=("wallet", "reason"),
                name="one_open_freeze_per_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="freeze",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason", ""), _negated=True), name="freeze_has_a_reason"
            ),
        ),
        migrations.AddConstraint(
            model_name="monthlyspend",
            constraint=models.UniqueConstraint(
                condition=models.Q(("api_key__isnull", True)),
                fields=("wallet", "month"),
                name="one_spend_per_wallet_and_month",
            ),
        ),
        migrations.AddConstraint(
            model_name="monthlyspend",
            constraint=models.UniqueConstraint(
                condition=models.Q(("api_key__isnull", False)),
                fields=("wallet", "month", "api_key"),
                name="one_spend_per_key_and_month",
            ),
        ),
        migrations.AddConstraint(
            model_name="monthlyspend",
            constraint=models.CheckConstraint(
                condition=models.Q(("spent_micros__gte", 0)), name="spend_is_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.UniqueConstraint(
                fields=("wallet", "kind", "occasion_at"), name="one_notice_per_occasion"
            ),
        ),
        migrations.RunPython(create_triggers, migrations.RunPython.noop),
    ]
