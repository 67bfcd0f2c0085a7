"""What recognises a job, beside the name that its caller used for the price. Empty for all jobs until now: the same."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("transcription", "0007_shown_text")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="underlying_model",
            field=models.CharField(blank=True, db_default="", default="", max_length=60),
        ),
    ]
