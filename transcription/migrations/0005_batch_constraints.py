"""Constraints of the columns that 0004 fills in.

A migration of their own: PostgreSQL does not alter a table in the transaction that has updated its rows.
"""

import django.db.models.expressions
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("transcription", "0004_batches_and_priority")]

    operations = [
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "items_left__lte",
                        django.db.models.expressions.CombinedExpression(
                            models.F("item_count"), "-", models.F("items_failed")
                        ),
                    )
                ),
                name="job_items_add_up",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("items_left", 0),
                    models.Q(
                        ("status__in", ["completed", "completed_with_errors", "failed", "canceled"]), _negated=True
                    ),
                    _connector="OR",
                ),
                name="final_job_has_no_items_left",
            ),
        ),
        migrations.AddConstraint(
            model_name="jobitem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "completed"), _negated=True), ("cost_micros__isnull", False), _connector="OR"
                ),
                name="completed_item_has_a_cost",
            ),
        ),
    ]
