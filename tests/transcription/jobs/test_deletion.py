"""What becomes of the tags of a job's charge. What else a deletion removes is in test_lifecycle and test_purging."""

import pytest

from billing.models import ChargeTag, Entry
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.jobs import deletion
from transcription.models import Job


@pytest.fixture
def job(organization):
    job = make_job(organization, metadata={"customer": "acme", "note": "x" * 500})
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    return job


def test_charge_of_a_job_has_the_tags_of_its_metadata(job):
    entry = Entry.objects.get(reference=job.hold_reference)
    assert list(entry.tags.values_list("name", "value")) == [("customer", "acme")]
    assert "acme" not in str(Entry.objects.filter(pk=entry.pk).values().get())


def test_customer_who_deletes_a_job_deletes_its_tags(job):
    jobs.delete(job)
    assert not ChargeTag.objects.exists()
    assert Entry.objects.filter(reference=job.hold_reference).exists()


def test_customer_who_deletes_a_running_job_leaves_no_tags(organization):
    job = make_job(organization, metadata={"customer": "acme"})
    item = jobs.claim(job.items.get().pk)
    assert jobs.record_shown(item.pk, length_ms=5_000, price_micros=100)
    jobs.delete(job)
    assert Entry.objects.filter(reference=job.hold_reference).exists()
    assert not ChargeTag.objects.exists()


def test_job_whose_retention_is_over_leaves_usage_by_tag(job):
    deletion.expire(job)
    assert not Job.objects.exists()
    assert ChargeTag.objects.get().value == "acme"


def test_tags_of_other_jobs_stay(organization, job):
    other = make_job(organization, metadata={"customer": "b"})
    jobs.finish_item(jobs.claim(other.items.get().pk), transcript=make_transcript())
    jobs.delete(job)
    assert ChargeTag.objects.get().value == "b"
