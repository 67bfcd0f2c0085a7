"""Which mails an owner gets about money. The database has the defaults, so older processes still write people."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0015_mails_about_transcripts")]

    operations = [
        migrations.AddField("user", name, models.BooleanField(db_default=True, default=True))
        for name in ("has_paid_mail", "has_refunded_mail", "has_disputed_mail")
    ]
