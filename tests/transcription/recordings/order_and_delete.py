"""What the contending workers of test_orderable do: all order one file or upload, and one makes it go."""

import uuid
from datetime import timedelta

from django.utils import timezone

from accounts.errors import NotFound
from accounts.models import Organization
from tests.transcription.factories import make_submission
from transcription import jobs, submissions
from transcription.jobs import Source
from transcription.models import Job, Media, Upload
from transcription.recordings import orderable


def order_or_delete(how: str, organization_id: uuid.UUID, file_id: uuid.UUID, worker: int) -> str:
    """Order the file, or as worker 0 delete its first job or end its time. Returns what came of it."""
    organization = Organization.objects.get(pk=organization_id)
    if worker == 0:
        if how == "delete":
            jobs.delete(Job.objects.order_by("created_at")[0])
        else:
            orderable.purge(now=timezone.now() + timedelta(days=30))
        return how
    media = Media.objects.filter(pk=file_id).first()
    if media is None:
        return "gone"
    try:
        jobs.submit(make_submission(organization), media=media)
    except NotFound:
        return "gone"
    return "ordered"


def order_or_delete_upload(how: str, organization_id: uuid.UUID, upload_id: uuid.UUID, worker: int) -> str:
    """Order an upload alone or in a batch, or as worker 0 delete the first job. Returns what came of it."""
    organization = Organization.objects.get(pk=organization_id)
    if worker == 0:
        jobs.delete(Job.objects.order_by("created_at")[0])
        return "delete"
    upload = Upload.objects.filter(pk=upload_id).first()
    if upload is None:
        return "gone"
    submission = make_submission(organization)
    try:
        if how == "batch":
            submissions.submit_sources(submission, sources=[Source(stored=upload), Source(name="a", declared_bytes=9)])
        else:
            jobs.submit_uploads(submission, uploads=[upload], name="again")
    except NotFound:
        return "gone"
    return "ordered"
