"""What the contending workers of test_orderable do: all order one file, and one of them makes it go."""

import uuid
from datetime import timedelta

from django.utils import timezone

from accounts.errors import NotFound
from accounts.models import Organization
from tests.transcription.factories import make_submission
from transcription import jobs
from transcription.models import Job, Media
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
