"""What is due is gone from database, storage and Redis, and nothing else is. What it cost stays in the ledger."""

from datetime import timedelta

import pytest
from django.core.files.storage import Storage, default_storage
from django.utils import timezone
from redis import Redis

from billing.models import Entry
from tests.contention import contend
from tests.transcription.factories import make_job, make_media, make_submission, make_transcript
from tests.transcription.jobs import purge_together
from transcription import jobs
from transcription.jobs import Retention, event_hub, events
from transcription.models import Answer, Job, JobItem, Media

pytestmark = pytest.mark.django_db(transaction=True)


def finish(job):
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript("secret words"))
    job.refresh_from_db()
    return job


def after(job, **more):
    return job.finished_at + timedelta(**more)


def rows():
    return [model.objects.count() for model in (Job, JobItem, Media, Answer)]


def test_job_that_is_due_is_gone_and_its_charge_stays(organization, alice):
    job = finish(make_job(organization, retention=Retention(days=2)))
    job.answers.create(token="0" * 32, text="A summary.", charged_micros=1, created_by=alice)
    item = job.items.get()
    keys = (item.result_key, item.media.storage_key)
    charged = list(Entry.objects.filter(reference=job.hold_reference).values_list("amount_micros", flat=True))
    assert len(charged) == 1
    assert jobs.purge(now=after(job, days=2, seconds=-1)) == 0
    assert all(default_storage.exists(key) for key in keys)
    assert jobs.purge(now=after(job, days=2)) == 1
    assert rows() == [0, 0, 0, 0]
    assert not any(default_storage.exists(key) for key in keys)
    assert list(Entry.objects.filter(reference=job.hold_reference).values_list("amount_micros", flat=True)) == charged
    assert jobs.purge(now=after(job, days=2)) == 0


def test_text_in_the_events_goes_with_the_job(organization, redis_of_tests: Redis):
    job = finish(make_job(organization, retention=Retention(days=1)))
    events.publish(job.pk, "segment", text="secret words")
    assert redis_of_tests.exists(event_hub.key_of(job.pk))
    jobs.purge(now=after(job, days=1))
    assert not redis_of_tests.exists(event_hub.key_of(job.pk))


def test_jobs_without_an_end_stay(organization):
    kept = finish(make_job(organization))
    waiting = finish(make_job(organization, retention=Retention(after_retrieval=True)))
    running = make_job(organization, retention=Retention(days=1))
    assert jobs.purge(now=timezone.now() + timedelta(days=10_000)) == 0
    assert set(Job.objects.all()) == {kept, waiting, running}


def test_retrieved_job_goes_after_an_hour(organization):
    job = finish(make_job(organization, retention=Retention(after_retrieval=True)))
    jobs.retrieve(job)
    assert jobs.purge(now=timezone.now() + timedelta(minutes=59)) == 0
    assert jobs.retrieve(job).text == "secret words"
    assert jobs.purge(now=timezone.now() + timedelta(minutes=61)) == 1
    assert rows() == [0, 0, 0, 0]


def test_file_that_another_job_uses_stays_with_it(organization):
    media = make_media(organization)
    first = finish(jobs.submit(make_submission(organization, retention=Retention(days=1)), media=media))
    second = finish(jobs.submit(make_submission(organization), media=media))
    assert jobs.purge(now=after(first, days=1)) == 1
    assert default_storage.exists(media.storage_key)
    assert jobs.transcript_of(second).text == "secret words"


@pytest.mark.long
def test_job_that_cannot_be_deleted_does_not_keep_the_others(organization, settings, caplog):
    """Storage that does not answer is logged, and the rows are gone: the sweep finds the bytes."""
    doomed = [finish(make_job(organization, retention=Retention(days=1))) for _ in range(3)]
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"{__name__}.SilentStorage"}}
    assert jobs.purge(now=after(doomed[-1], days=1)) == 3
    assert rows() == [0, 0, 0, 0]
    assert "Could not remove" in caplog.text


class SilentStorage(Storage):
    def delete(self, name):
        raise OSError("no answer")


@pytest.mark.long
def test_clocks_that_purge_at_the_same_moment_delete_each_job_once(organization):
    doomed = [finish(make_job(organization, retention=Retention(days=1))) for _ in range(4)]
    contend(purge_together.purge, after(doomed[-1], days=1), kind="threads", worker_count=4)
    assert rows() == [0, 0, 0, 0]
    assert Entry.objects.filter(reference__in=[job.hold_reference for job in doomed]).count() == 4
