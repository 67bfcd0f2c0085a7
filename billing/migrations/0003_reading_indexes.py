import django.db.models.fields.json
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("billing", "0002_append_only"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="entry", name="entry_by_kind"),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(
                fields=["wallet", "kind", "-created_at"], include=["amount_micros"], name="entry_by_kind"
            ),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(fields=["wallet", "created_at"], name="entry_by_time"),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(
                models.F("wallet"),
                django.db.models.fields.json.KeyTextTransform("api_key_id", "details"),
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(("kind", "usage")),
                name="entry_by_key",
            ),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(
                models.F("wallet"),
                django.db.models.fields.json.KeyTextTransform("model", "details"),
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(("kind", "usage")),
                name="entry_by_model",
            ),
        ),
    ]
