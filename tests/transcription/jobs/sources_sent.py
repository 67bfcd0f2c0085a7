"""Jobs of files, URLs and stored recordings, whose files come and are verified by a call."""

import pytest
from django.core.files.storage import default_storage

from accounts.errors import BadRequest
from billing import ledger, statements
from billing.models import Hold
from tests.fixtures import recordings as samples
from tests.transcription.factories import make_submission, make_transcript
from transcription import jobs, submissions
from transcription.jobs import Source
from transcription.models import Import, Job, JobItem, SearchText, Status, Upload
from transcription.recordings import uploads

SENTENCE = samples.named("sentence-slt.wav")


SIZE = SENTENCE.path.stat().st_size


URL = "https://example.com/calls/talk.mp3?signature=secret"


def file_source(reference="", **fields):
    return Source(**{"reference": reference, "name": "call.wav", "declared_bytes": SIZE, **fields})


def submit(organization, sources, **fields):
    return submissions.submit_sources(make_submission(organization, **fields), sources=sources, name="calls")


def receive(item, *, path=SENTENCE.path):
    uploads.receive(item.upload, path=path)
    jobs.bytes_have_come(item.upload)


def verify(job):
    for item in job.items.filter(status=Status.VERIFYING, media__isnull=True):
        jobs.verify_item(item.pk)
    job.refresh_from_db()


def finish(job):
    for item in job.items.filter(status=Status.QUEUED):
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(duration_ms=SENTENCE.duration_ms))
    job.refresh_from_db()


def held(organization):
    return statements.balance(organization).held_micros


def statuses(job):
    return [(item.status, item.error_type) for item in job.items.all()]


def stored_keys():
    return {key for key in Upload.objects.values_list("storage_key", flat=True) if default_storage.exists(key)}


def nothing_was_made():
    return not any(model.objects.exists() for model in (Job, JobItem, Upload, Import, Hold, SearchText))


def refusal_of(organization, sources):
    with pytest.raises(BadRequest) as caught:
        submit(organization, sources)
    assert nothing_was_made()
    return caught.value.type, caught.value.data.get("param")


def leave(organization, micros):
    """Leave so much of the balance."""
    spare = statements.balance(organization).available_micros - micros
    ledger.reserve(organization, amount_micros=spare, reference="nearly all")
    return spare


class Counter:
    """Counts queries."""

    count = 0

    def __call__(self, execute, *arguments):
        self.count += 1
        return execute(*arguments)
