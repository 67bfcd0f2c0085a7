"""The result of a job or an item, once there is one."""

from pathlib import Path

import pytest
from django.core.files.storage import default_storage

from accounts.errors import Conflict, NotFound
from tests.transcription.factories import make_batch, make_transcript
from tests.transcription.jobs.single_jobs import claim, item_of
from transcription import jobs


def finish(item, text="hello"):
    assert jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(text))


def test_result_is_not_found_until_completed(job):
    with pytest.raises(NotFound):
        jobs.transcript_of(job)


def test_lost_file_of_a_result_is_not_found(job):
    jobs.finish_item(claim(job), transcript=make_transcript())
    Path(default_storage.path(item_of(job).result_key)).unlink()
    with pytest.raises(NotFound):
        jobs.transcript_of(job)


def test_each_item_has_its_own_result(organization):
    job = make_batch(organization, 2)
    first, second = job.items.all()
    finish(first, "one")
    finish(second, "two")
    job.refresh_from_db()
    assert [jobs.transcript_of_item(item).text for item in job.items.all()] == ["one", "two"]
    with pytest.raises(Conflict, match="2 recordings"):
        jobs.transcript_of(job)
