"""Rename the model ParkedEvent to UnmatchedEvent. The table keeps its name, `billing_parkedevent`.

A process of the version before, which runs on during a rolling upgrade, reads and writes the table by that name. So
the first operation sets the table's name explicitly, and RenameModel then finds equal names and runs no SQL. It stands
at the top level and not inside SeparateDatabaseAndState, because Django renames the content type only for a RenameModel
that it finds there.

The permissions are rows: they get their new names here, so that operators keep their rights. Until the old processes
have ended, their admin asks for the old names and does not show this one list.
"""

import django.db.models.deletion
from django.db import migrations, models

OLD, NEW = "parkedevent", "unmatchedevent"


def _rename_permissions(apps, schema_editor, *, before, after):
    permissions = apps.get_model("auth", "Permission").objects.using(schema_editor.connection.alias)
    for action in ("add", "change", "delete", "view"):
        permissions.filter(content_type__app_label="billing", codename=f"{action}_{before}").update(
            codename=f"{action}_{after}", name=f"Can {action} {after.removesuffix('event')} event"
        )


def rename_permissions(apps, schema_editor):
    _rename_permissions(apps, schema_editor, before=OLD, after=NEW)


def restore_permissions(apps, schema_editor):
    _rename_permissions(apps, schema_editor, before=NEW, after=OLD)


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("billing", "0015_notices_claimed_anew"),
    ]

    operations = [
        migrations.AlterModelTable(name="parkedevent", table="billing_parkedevent"),
        migrations.RenameModel(old_name="ParkedEvent", new_name="UnmatchedEvent"),
        migrations.AlterField(
            model_name="unmatchedevent",
            name="topup",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="unmatched_events",
                to="billing.topup",
            ),
        ),
        migrations.RunPython(rename_permissions, restore_permissions),
    ]
