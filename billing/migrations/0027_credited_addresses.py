"""Addresses that brought the sign-up credit, as keyed digests. A new table: nothing waits for it."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0026_names_of_customers")]

    operations = [
        migrations.CreateModel(
            name="CreditedAddress",
            fields=[
                ("digest", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
    ]
