"""Add the number of prompt tokens that came from an upstream's cache. Old processes leave it null."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("apex", "0001_completions")]

    operations = [
        migrations.AddField(
            model_name="completion",
            name="cached_prompt_tokens",
            field=models.PositiveIntegerField(null=True),
        ),
    ]
