from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("transcription", "0016_batches_of_sources"),
    ]

    operations = [
        # It was never written.
        migrations.RemoveField(model_name="upload", name="parts"),
        migrations.AddField(
            model_name="upload",
            name="multipart_id",
            field=models.CharField(blank=True, db_default="", default="", max_length=1024),
        ),
        migrations.AddField(
            model_name="upload",
            name="part_bytes",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="upload",
            name="etag",
            field=models.CharField(blank=True, db_default="", default="", max_length=40),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=models.CheckConstraint(
                condition=models.Q(("multipart_id", ""))
                | models.Q(
                    ("declared_bytes__gt", 0),
                    ("declared_bytes__isnull", False),
                    ("part_bytes__gt", 0),
                    ("part_bytes__isnull", False),
                ),
                name="upload_in_parts_has_sizes",
            ),
        ),
    ]
