"""The sweep removes what a killed process left, and nothing that a row, a job or a waiting upload needs."""

import os
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from tests.fixtures import recordings as samples
from tests.transcription.broken_rows import broken
from tests.transcription.factories import make_job, make_media, make_submission, make_transcript
from transcription import jobs, recordings, submissions
from transcription.models import Job, Media, Upload
from transcription.recordings import storage, sweeping, uploads

pytestmark = pytest.mark.usefixtures("own_storage")


def test_sweep_removes_what_no_row_and_no_job_knows(organization):
    now = timezone.now()
    orphan = make_media(organization)
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    used = job.items.get()
    default_storage.save(f"media/{organization.pk}/stray", ContentFile(b"x"))
    default_storage.save(f"results/{organization.pk}/{job.pk}/stray.json", ContentFile(b"{}"))
    assert recordings.sweep(now=now) == 0
    assert recordings.sweep(now=now + timedelta(hours=7)) == 3
    assert not Media.objects.filter(pk=orphan.pk).exists()
    media = Path(default_storage.path("media"))
    assert [path.name for path in media.rglob("*") if path.is_file()] == [str(used.media_id)]
    assert default_storage.exists(used.result_key)
    assert jobs.transcript_of(Job.objects.get()).text == "hello"


@pytest.mark.django_db(transaction=True)  # what fails here would end the transaction of the test
def test_recording_that_cannot_be_removed_keeps_no_other_one(organization, caplog):
    # The walk goes by id.
    first, _ = sorted((make_media(organization) for _ in range(2)), key=lambda media: media.pk)
    with broken(first, act="DELETE"):
        assert recordings.sweep(now=timezone.now() + timedelta(hours=7)) == 1
    assert list(Media.objects.all()) == [first]
    assert f"Recording {first.pk} came to no job" in caplog.text


def test_sweep_leaves_the_recording_that_a_job_waits_to_verify(organization):
    """Another job of the same file has had it verified, and was deleted."""
    sentence = samples.named("sentence-slt.wav").path
    upload = uploads.begin(organization, name="call.wav", declared_bytes=sentence.stat().st_size)
    uploads.receive(upload, path=sentence)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    media = uploads.verify(upload)
    later = timezone.now() + timedelta(hours=25)
    assert recordings.sweep(now=later) == 0
    jobs.verify_item(job.items.get().pk)
    assert job.items.get().media == media
    # One that was canceled does not wait.
    other = uploads.begin(organization, name="call.wav", declared_bytes=sentence.stat().st_size)
    uploads.receive(other, path=sentence)
    jobs.cancel(submissions.submit_upload(make_submission(organization), upload=other))
    uploads.verify(other)
    assert recordings.sweep(now=later) == 1


def test_sweep_leaves_uploads_that_still_live(organization):
    sentence = samples.named("sentence-slt.wav").path
    upload = uploads.begin(organization, name="call.wav", declared_bytes=sentence.stat().st_size)
    uploads.receive(upload, path=sentence)
    media = uploads.verify(upload)
    now = timezone.now()
    assert recordings.sweep(now=now + timedelta(hours=20)) == 0
    assert recordings.sweep(now=now + timedelta(hours=25)) > 0
    assert not Media.objects.filter(pk=media.pk).exists()
    assert not Upload.objects.filter(pk=upload.pk).exists()


def test_sweep_that_has_no_time_left_goes_on_where_it_stopped(organization):
    used = {make_job(organization).items.get().media_id for _ in range(3)}
    for _ in range(4):
        make_media(organization)
    later = timezone.now() + timedelta(hours=7)
    found = [sweeping.sweep(now=later, seconds=0, batch_size=2) for _ in range(5)]
    assert sum(found) == 4
    assert max(found) <= 2
    assert set(Media.objects.values_list("pk", flat=True)) == used
    # The walk has come to the end and begins anew.
    orphan = make_media(organization)
    assert sum(sweeping.sweep(now=later, seconds=0, batch_size=2) for _ in range(4)) == 1
    assert not Media.objects.filter(pk=orphan.pk).exists()


def test_files_are_looked_up_together(organization, django_assert_max_num_queries):
    job = make_job(organization)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript())
    item = job.items.get()
    folder = item.result_key.rpartition("/")[0]
    # Another file of the same item, as a worker leaves it that dies before its row is written; and of none.
    default_storage.save(f"{folder}/{item.pk}-1-ffffffff.json", ContentFile(b"{}"))
    for number in range(20):
        default_storage.save(f"{folder}/{uuid.uuid4()}-1-{number:08}.json", ContentFile(b"{}"))
        default_storage.save(f"media/{organization.pk}/stray-{number}", ContentFile(b"x"))
    with django_assert_max_num_queries(6):
        assert recordings.sweep(now=timezone.now() + timedelta(hours=7)) == 41
    assert default_storage.exists(item.result_key)


def test_sweep_leaves_a_file_that_was_just_moved_into_storage_and_has_no_row_yet(organization, tmp_path):
    path = tmp_path / "upload-old"
    path.write_bytes(b"sound")
    a_day_ago = timezone.now().timestamp() - 24 * 3600
    os.utime(path, (a_day_ago, a_day_ago))
    key = storage.new_key(organization, uuid.uuid4())
    storage.store_file(key, path=path, may_move=True)
    assert not path.exists()
    assert recordings.sweep(now=timezone.now()) == 0
    assert default_storage.exists(key)


def test_only_old_files_are_strays_of_an_upload(tmp_path):
    for name, age_seconds in (("upload-old", 100), ("upload-new", 10)):
        (tmp_path / name).write_bytes(b"sound")
        os.utime(tmp_path / name, (1_000 - age_seconds, 1_000 - age_seconds))
    (tmp_path / "folder").mkdir()
    os.utime(tmp_path / "folder", (0, 0))
    assert recordings.stray_files(older_than_seconds=50, now=1_000) == [tmp_path / "upload-old"]
