"""The sweep removes what a killed process left, and nothing that a row, a job or a waiting upload needs."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from tests.fixtures import recordings as samples
from tests.transcription.factories import make_job, make_media, make_transcript
from transcription import jobs, recordings
from transcription.models import Job, Media, Upload
from transcription.recordings import uploads

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


def test_only_old_files_are_strays_of_an_upload(tmp_path):
    for name, age_seconds in (("upload-old", 100), ("upload-new", 10)):
        (tmp_path / name).write_bytes(b"sound")
        os.utime(tmp_path / name, (1_000 - age_seconds, 1_000 - age_seconds))
    (tmp_path / "folder").mkdir()
    os.utime(tmp_path / "folder", (0, 0))
    assert recordings.stray_files(older_than_seconds=50, now=1_000) == [tmp_path / "upload-old"]
