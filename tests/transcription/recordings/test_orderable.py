"""Files that were sent without a job: who finds them, how many may be stored, and what the clock deletes."""

import uuid
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts import api_keys, tokens
from accounts.errors import Conflict, NotFound
from tests.contention import contend
from tests.transcription.broken_rows import broken
from tests.transcription.factories import make_job, make_media, make_submission, make_transcript
from tests.transcription.recordings import order_and_delete
from transcription import jobs, recordings, submissions
from transcription.jobs import Source
from transcription.models import Import, Job, JobItem, Media, Upload, UploadState
from transcription.recordings import imports, orderable, uploads


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


def test_file_that_cannot_be_deleted_keeps_no_other_one(organization, file, settings, caplog):
    other = make_media(organization)
    orderable.offer(other, in_transaction=lambda _: None)
    with broken(file, act="DELETE"):
        assert orderable.purge(now=after(settings, minutes=1)) == 1
    assert list(Media.objects.all()) == [file]
    assert f"recording {file.pk} is over" in caplog.text


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


@pytest.mark.long
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


def is_full(organization):
    try:
        orderable.require_space(organization)
    except Conflict:
        return True
    return False


def test_order_that_is_canceled_frees_no_space_for_files(organization, charlies, file, settings):
    """Otherwise anybody stores what they like: upload, order, cancel, and so on."""
    settings.MAX_ORDERABLE_BYTES = file.size_bytes
    first = jobs.submit(make_submission(organization), media=file)
    assert not is_full(organization)
    jobs.cancel(first)
    assert is_full(organization)
    # The end of its time does not help either: the job keeps it, so that it can be run again.
    orderable.purge(now=after(settings, minutes=1))
    assert is_full(organization)
    assert not is_full(charlies)
    again = jobs.run_again(first)
    assert not is_full(organization)
    jobs.cancel(again)
    jobs.delete(again)
    assert is_full(organization)
    jobs.delete(first)
    assert not is_full(organization)


def test_file_with_a_transcript_does_not_count_whatever_became_of_its_other_jobs(organization, file, settings):
    settings.MAX_ORDERABLE_BYTES = file.size_bytes
    done, canceled = (jobs.submit(make_submission(organization), media=file) for _ in range(2))
    jobs.cancel(canceled)
    item = jobs.claim(done.items.get().pk)
    jobs.finish_item(item, transcript=make_transcript(duration_ms=file.duration_ms))
    assert not is_full(organization)
    jobs.delete(done)
    assert is_full(organization)


def test_file_of_a_job_that_has_no_hold_yet_counts(organization, settings):
    """Otherwise a job whose last file never comes stores what it likes for nothing."""
    settings.MAX_ORDERABLE_BYTES = 1000
    first, second = (uploads.begin(organization, name="a.wav", declared_bytes=1000) for _ in range(2))
    jobs.submit_uploads(make_submission(organization), uploads=[first, second], name="a.wav")
    assert not is_full(organization)
    Upload.objects.filter(pk=first.pk).update(state=UploadState.RECEIVED)
    assert is_full(organization)


def test_file_of_a_failed_job_counts_and_what_is_on_its_way_with_a_job_does_not(organization, settings):
    settings.MAX_ORDERABLE_BYTES = 1
    upload = uploads.begin(organization, name="a.wav", declared_bytes=1000)
    job = jobs.submit_uploads(make_submission(organization), uploads=[upload], name="a.wav")
    assert not is_full(organization)
    jobs.cancel(job)
    Upload.objects.update(state=UploadState.RECEIVED)
    assert is_full(organization)
    jobs.delete(job)
    failed = make_job(organization)
    assert not is_full(organization)
    JobItem.objects.filter(job=failed).update(attempt=10)
    jobs.fail_item(jobs.claim(failed.items.get().pk), error_type="engine_failed", message="no")
    assert is_full(organization)


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


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["alone", "batch"])
def test_upload_whose_only_job_is_deleted_while_others_order_it(organization, how):
    upload = uploads.begin(organization, name="call.wav", declared_bytes=100)
    jobs.submit_uploads(make_submission(organization), uploads=[upload], name="first")
    ended = contend(order_and_delete.order_or_delete_upload, how, organization.pk, upload.pk, kind="threads")
    assert set(ended) <= {"ordered", "gone", "delete"}
    assert Job.objects.count() == ended.count("ordered")
    assert Upload.objects.filter(pk=upload.pk).exists() == ("ordered" in ended)


def test_upload_that_was_deleted_meanwhile_is_told(organization):
    upload = uploads.begin(organization, name="call.wav", declared_bytes=100)
    Upload.objects.filter(pk=upload.pk).delete()
    with pytest.raises(NotFound):
        submissions.submit_sources(make_submission(organization), sources=[Source(stored=upload)])
    with pytest.raises(NotFound):
        jobs.submit_uploads(make_submission(organization), uploads=[upload], name="again")
    assert not Job.objects.exists()


def token_of(organization):
    parent, _ = api_keys.issue(organization, name="server", by=None)
    facts = {"scopes": ["transcribe"], "lifetime": timedelta(minutes=5), "spend_limit_micros": 1_000_000}
    return tokens.issue(parent, name="t", **facts)[0]


def test_visitors_have_a_tenth_of_the_space_and_leave_the_rest(organization, settings):
    """The attack: order and cancel, with as many tokens as the page gives out, until its servers cannot upload."""
    first, second = token_of(organization), token_of(organization)
    job = jobs.submit(make_submission(organization, api_key=first), media=make_media(organization))
    jobs.cancel(job)
    settings.MAX_ORDERABLE_BYTES = 10 * job.items.get().media.size_bytes
    for token in (first, second):
        with pytest.raises(Conflict) as caught:
            orderable.require_space(organization, api_key=token)
        assert caught.value.type == "too_many_stored_files"
        assert "GiB" not in caught.value.message
    orderable.require_space(organization)
    orderable.require_space(organization, api_key=first.parent)
    settings.MAX_ORDERABLE_BYTES += 10
    orderable.require_space(organization, api_key=second)


def test_files_of_the_servers_take_no_space_of_visitors(organization, file, settings):
    settings.MAX_ORDERABLE_BYTES = 10 * file.size_bytes
    orderable.require_space(organization, api_key=token_of(organization))


def test_announced_files_of_visitors_count_when_they_have_come(organization, settings, tmp_path):
    token = token_of(organization)
    upload = uploads.begin(organization, name="a.wav", declared_bytes=5, declared_type="", api_key=token)
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    settings.MAX_ORDERABLE_BYTES = 50
    orderable.require_space(organization, api_key=token)
    uploads.receive(upload, path=path)
    with pytest.raises(Conflict):
        orderable.require_space(organization, api_key=token)


def test_space_of_visitors_is_looked_at_again_before_each_of_many_files_at_urls(organization, settings):
    token = token_of(organization)
    job = submissions.submit_sources(
        make_submission(organization, api_key=token),
        sources=[Source(reference=name, url=f"https://example.com/{name}.wav") for name in ("a", "b")],
    )
    settings.MAX_ORDERABLE_BYTES = 9  # A tenth of it is nothing.
    with pytest.raises(Conflict):
        imports.fetch(Import.objects.first())
    assert job.items.count() == 2
