"""How often a waiting mail was tried, and why it waits."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_waiting_mail"),
    ]

    operations = [
        migrations.AddField(
            model_name="waitingmail",
            name="attempts",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="waitingmail",
            name="failure",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
    ]
