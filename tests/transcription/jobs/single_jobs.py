"""Jobs of one recording of ten seconds: their item at work, and what they were charged."""

from datetime import timedelta

from django.utils import timezone

from accounts.models import Organization
from billing.models import Entry, EntryKind
from transcription import jobs
from transcription.models import Job, JobItem

# 10 s at 300,000 micro-dollars an hour.
TEN_SECONDS_MICROS = 833


def item_of(job: Job) -> JobItem:
    return job.items.get()


def claim(job: Job) -> JobItem:
    """Return the job's item, claimed by a worker."""
    item = jobs.claim(item_of(job).pk)
    assert item is not None
    return item


def grow_silent(item: JobItem, seconds: int = 60) -> None:
    """Make the last heartbeat of an item's worker this old."""
    JobItem.objects.filter(pk=item.pk).update(touched_at=timezone.now() - timedelta(seconds=seconds))


def usage(organization: Organization) -> list[Entry]:
    """Return the charges of an organization."""
    return list(Entry.objects.filter(wallet__organization=organization, kind=EntryKind.USAGE))
