"""Jobs keep whether their webhook was given up. The column has a default in the database, so no row is rewritten."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("transcription", "0022_corrections")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="webhook_was_lost",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
