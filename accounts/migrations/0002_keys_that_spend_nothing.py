"""Lets a key's monthly limit be 0. Back again only while no key has such a limit: give those another one first."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="apikey",
            name="api_key_limit_is_positive",
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("monthly_limit_micros__isnull", True), ("monthly_limit_micros__gte", 0), _connector="OR"
                ),
                name="api_key_limit_is_not_negative",
            ),
        ),
    ]
