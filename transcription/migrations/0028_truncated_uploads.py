"""Uploads keep whether they may be cut off. The column has a default in the database, so no row is rewritten."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("transcription", "0027_tags")]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="may_be_truncated",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
