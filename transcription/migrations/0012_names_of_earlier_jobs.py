"""Has all jobs that there are found by their names. Their transcripts are not: those lie in storage."""

from django.db import migrations

BATCH_SIZE = 2000


def record_names(apps, schema_editor):
    from transcription.jobs.search import normalized

    items = apps.get_model("transcription", "JobItem").objects.order_by("pk")
    SearchText = apps.get_model("transcription", "SearchText")
    rows = items.values_list("job_id", "position", "job__name", "media__name", "upload__name")
    batch = []
    for job_id, position, *names in rows.iterator(chunk_size=BATCH_SIZE):
        words = dict.fromkeys(normalized(name) for name in names if name)
        batch.append(SearchText(job_id=job_id, position=position, number=0, words=f" {' '.join(words)} "))
        if len(batch) == BATCH_SIZE:
            SearchText.objects.bulk_create(batch)
            batch = []
    SearchText.objects.bulk_create(batch)


class Migration(migrations.Migration):
    dependencies = [
        ("transcription", "0011_search_texts"),
    ]

    operations = [
        migrations.RunPython(record_names, migrations.RunPython.noop),
    ]
