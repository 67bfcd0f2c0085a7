"""The trace of the request that ordered a job. Old processes work on: the column has a default in the database."""

from django.db import migrations, models

import accounts.tracing


class Migration(migrations.Migration):
    dependencies = [("transcription", "0030_failures_of_all")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="trace_context",
            field=models.CharField(
                blank=True, db_default="", default=accounts.tracing.context, editable=False, max_length=55
            ),
        ),
    ]
