"""Tokens: short-lived keys of browsers, each with the key that made it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0008_attempts_of_mail"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="tokens",
                to="accounts.apikey",
            ),
        ),
        migrations.AddIndex(
            model_name="apikey",
            index=models.Index(
                condition=models.Q(("parent__isnull", False)), fields=["parent", "-created_at"], name="token_list"
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("parent__isnull", True),
                    models.Q(
                        ("expires_at__isnull", False),
                        ("monthly_limit_micros__isnull", False),
                        ("raised_until__isnull", True),
                        models.Q(("scopes__contains", "admin"), _negated=True),
                        models.Q(("scopes__contains", "billing"), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="token_is_bounded",
            ),
        ),
    ]
