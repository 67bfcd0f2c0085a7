"""Limits of keys that are raised for a time."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_rotated_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="raised_limit_micros",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="raised_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="apikey",
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
                name="api_key_raise_ends",
            ),
        ),
    ]
