from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("transcription", "0008_underlying_model"),
    ]

    operations = [
        migrations.AddField(
            model_name="media",
            name="orderable_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name="media",
            index=models.Index(
                condition=models.Q(("orderable_until__isnull", False)),
                fields=["orderable_until"],
                name="orderable_media_by_end",
            ),
        ),
        migrations.AddIndex(
            model_name="media",
            index=models.Index(
                condition=models.Q(("orderable_until__isnull", False)),
                fields=["organization"],
                name="orderable_media_of",
            ),
        ),
    ]
