"""The words by which jobs are found. PostgreSQL makes a tsvector of them."""

import django.db.models.deletion
from django.db import migrations, models

DOCUMENT = (
    "ALTER TABLE transcription_searchtext ADD COLUMN document tsvector "
    "GENERATED ALWAYS AS (to_tsvector('simple', words)) STORED",
    "CREATE INDEX search_text_document ON transcription_searchtext USING gin (document)",
)


def add_document(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for statement in DOCUMENT:
            schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [
        ("transcription", "0010_job_retention_and_metadata"),
    ]

    operations = [
        migrations.CreateModel(
            name="SearchText",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveIntegerField()),
                ("number", models.PositiveIntegerField()),
                ("words", models.TextField()),
                (
                    "job",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="search_texts",
                        to="transcription.job",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("job", "position", "number"), name="one_search_text_per_stretch")
                ],
            },
        ),
        migrations.RunPython(add_document, migrations.RunPython.noop),
    ]
