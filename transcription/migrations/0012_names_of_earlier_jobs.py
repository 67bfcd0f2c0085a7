"""Has all jobs that there are found by their names. Their transcripts are not: those lie in storage.

Customers and the clock may delete jobs meanwhile. So each batch is a transaction of its own, which holds the rows of its
jobs: a deletion waits for it for some milliseconds, and then takes the names too. A second run goes on after an
interrupted one, because rows that are there already stay.
"""

import uuid

from django.db import migrations, transaction

BATCH_SIZE = 2000


def record_names(apps, schema_editor):
    from transcription.jobs.search import normalized

    Job = apps.get_model("transcription", "Job")
    SearchText = apps.get_model("transcription", "SearchText")
    items = apps.get_model("transcription", "JobItem").objects.order_by("pk")
    last = uuid.UUID(int=0)
    while True:
        with transaction.atomic():
            after = items.filter(pk__gt=last)[:BATCH_SIZE]
            batch = list(after.values_list("pk", "job_id", "position", "job__name", "media__name", "upload__name"))
            if not batch:
                return
            job_ids = {job_id for _, job_id, *_ in batch}
            held = Job.objects.select_for_update(no_key=True).filter(pk__in=job_ids).order_by("pk")
            stored = set(held.values_list("pk", flat=True))
            SearchText.objects.bulk_create(
                [
                    SearchText(job_id=job_id, position=position, number=0, words=_words(names, normalized))
                    for _, job_id, position, *names in batch
                    if job_id in stored
                ],
                ignore_conflicts=True,
            )
        last = batch[-1][0]


def _words(names, normalized):
    return f" {' '.join(dict.fromkeys(normalized(name) for name in names if name))} "


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("transcription", "0011_search_texts"),
    ]

    operations = [
        migrations.RunPython(record_names, migrations.RunPython.noop),
    ]
