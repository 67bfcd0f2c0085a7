from django.db import migrations


def count_holds(apps, schema_editor):
    """Give every hold its month and its charge, and count them, as the ledger does from now on."""
    Hold = apps.get_model("billing", "Hold")
    Entry = apps.get_model("billing", "Entry")
    MonthlySpend = apps.get_model("billing", "MonthlySpend")
    counts = {}
    for hold in Hold.objects.order_by("pk").iterator():
        hold.month = hold.created_at.date().replace(day=1)
        if hold.state == "settled":
            entry = Entry.objects.filter(kind="usage", reference=hold.reference).first()
            hold.charged_micros = -entry.amount_micros if entry else 0
        hold.save(update_fields=["month", "charged_micros"])
        counted = {"open": hold.amount_micros, "settled": hold.charged_micros, "released": 0}[hold.state]
        counts[hold.wallet_id, hold.month] = counts.get((hold.wallet_id, hold.month), 0) + counted
    for (wallet_id, month), spent_micros in counts.items():
        MonthlySpend.objects.create(wallet_id=wallet_id, month=month, spent_micros=spent_micros)


def uncount_holds(apps, schema_editor):
    apps.get_model("billing", "MonthlySpend").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_limits_and_freezes")]

    operations = [migrations.RunPython(count_holds, uncount_holds)]
