"""Which mails a person gets about transcripts. The database has the defaults, so older processes still write people."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0014_request_log")]

    operations = [
        migrations.AddField(
            "user",
            "ready_mail",
            models.CharField(
                choices=[
                    ("never", "Never"),
                    ("long", "When it took more than 10 minutes"),
                    ("always", "Always"),
                ],
                db_default="long",
                default="long",
                max_length=10,
            ),
        ),
        migrations.AddField("user", "has_failed_mail", models.BooleanField(db_default=True, default=True)),
    ]
