"""Which work a tagged charge is about, so that the tags of a summary are deleted with its job. The column has a constant
default, for which PostgreSQL writes no row, and the index is made while tags are written.
"""

from django.db import migrations, models

from accounts.migration_operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("billing", "0024_statistics_of_entries")]

    operations = [
        migrations.AddField(
            model_name="chargetag",
            name="work_reference",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        AddIndexConcurrently(
            model_name="chargetag",
            index=models.Index(
                condition=models.Q(("work_reference", ""), _negated=True),
                fields=["work_reference"],
                name="tags_by_work",
            ),
        ),
    ]
