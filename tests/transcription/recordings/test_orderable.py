"""Files that were sent without a job: who finds them, how many may be stored, and what the clock deletes."""

import uuid
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts.errors import Conflict, NotFound
from tests.contention import contend
from tests.transcription.factories import make_job, make_media, make_submission
from tests.transcription.recordings import order_and_delete
from transcription import jobs, recordings
from transcription.models import Job, Media
from transcription.recordings import orderable


@pytest.fixture
def file(organization):
    media = make_media(organization)
    orderable.offer(media, in_transaction=lambda _: None)
    return media


def after(settings, **more):
    return timezone.now() + timedelta(hours=settings.ORDERABLE_HOURS, **more)


def test_file_is_found_by_its_id_and_by_nothing_else(organization, file):
    assert orderable.find(organization, file_id=str(file.pk)) == file
    assert orderable.find(organization, file_id=str(file.pk).upper()) == file
    for other in ("", "nonsense", f"{{{file.pk}}}", file.pk.hex, str(uuid.uuid4())):
        with pytest.raises(NotFound):
            orderable.find(organization, file_id=other)


def test_stranger_cannot_find_file(charlies, file):
    with pytest.raises(NotFound):
        orderable.find(charlies, file_id=str(file.pk))


def test_recording_that_came_with_a_job_cannot_be_ordered(organization):
    job = make_job(organization)
    with pytest.raises(NotFound):
        orderable.find(organization, file_id=str(job.items.get().media_id))


def test_file_whose_time_is_over_is_not_found_even_before_the_clock_came(organization, file):
    Media.objects.filter(pk=file.pk).update(orderable_until=timezone.now() - timedelta(seconds=1))
    with pytest.raises(NotFound):
        orderable.find(organization, file_id=str(file.pk))


def test_offer_is_undone_if_what_belongs_to_it_fails(organization):
    media = make_media(organization)

    def fail(_):
        raise Conflict("No.")

    with pytest.raises(Conflict):
        orderable.offer(media, in_transaction=fail)
    assert Media.objects.get(pk=media.pk).orderable_until is None


@pytest.mark.django_db(transaction=True)
def test_clock_deletes_file_without_a_job_after_its_time(organization, file, settings):
    assert orderable.purge(now=after(settings, minutes=-1)) == 0
    assert default_storage.exists(file.storage_key)
    assert orderable.purge(now=after(settings, minutes=1)) == 1
    assert not Media.objects.filter(pk=file.pk).exists()
    assert not default_storage.exists(file.storage_key)
    assert orderable.purge(now=after(settings, minutes=1)) == 0


@pytest.mark.django_db(transaction=True)
def test_clock_leaves_file_to_its_jobs_and_the_last_deleted_job_takes_it(organization, file, settings):
    first, second = (jobs.submit(make_submission(organization), media=file) for _ in range(2))
    assert orderable.purge(now=after(settings, minutes=1)) == 0
    assert Media.objects.get(pk=file.pk).orderable_until is None
    jobs.delete(first)
    assert default_storage.exists(file.storage_key)
    jobs.delete(second)
    assert not default_storage.exists(file.storage_key)
    assert not Media.objects.exists()


def test_sweep_of_strays_leaves_files_that_can_be_ordered(organization, file):
    Media.objects.update(created_at=timezone.now() - timedelta(hours=20))
    assert recordings.sweep(now=timezone.now()) == 0
    assert Media.objects.filter(pk=file.pk).exists()


def test_files_without_a_job_count_towards_the_limit_of_their_organization(organization, charlies, file, settings):
    settings.MAX_ORDERABLE_BYTES = file.size_bytes
    with pytest.raises(Conflict) as caught:
        orderable.require_space(organization)
    assert caught.value.type == "too_many_stored_files"
    orderable.require_space(charlies)
    jobs.submit(make_submission(organization), media=file)
    orderable.require_space(organization)


def test_job_for_a_file_that_was_deleted_meanwhile_is_not_submitted(organization, file):
    Media.objects.filter(pk=file.pk).delete()
    with pytest.raises(NotFound) as caught:
        jobs.submit(make_submission(organization), media=file)
    assert caught.value.type == "file_not_found"
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["delete", "purge"])
def test_file_is_ordered_or_deleted_and_never_both(organization, file, how):
    """A job of a file is deleted, or the file's time ends, while others order it: every job that is there has it."""
    if how == "delete":
        jobs.submit(make_submission(organization), media=file)
    ended = contend(order_and_delete.order_or_delete, how, organization.pk, file.pk, kind="threads")
    assert set(ended) <= {"ordered", "gone", how}
    assert Job.objects.count() == ended.count("ordered")
    assert Media.objects.filter(pk=file.pk).exists() == default_storage.exists(file.storage_key)
    assert Media.objects.filter(pk=file.pk).exists() == ("ordered" in ended)
