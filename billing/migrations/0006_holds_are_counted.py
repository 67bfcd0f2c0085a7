from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_count_holds")]

    operations = [
        migrations.AlterField(model_name="hold", name="month", field=models.DateField()),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("charged_micros__gte", 0),
                        ("charged_micros__isnull", False),
                        ("charged_micros__lte", models.F("amount_micros")),
                        ("state", "settled"),
                    ),
                    models.Q(("charged_micros__isnull", True), ("state__in", ["open", "released"])),
                    _connector="OR",
                ),
                name="hold_is_charged_within_its_amount",
            ),
        ),
    ]
