"""What is done at once to a job that waits for its files, for test_sources. Fork servers load it: no pytest in it."""

from pathlib import Path
from uuid import UUID

from accounts.errors import Conflict
from transcription import jobs
from transcription.models import Job, Upload
from transcription.recordings import uploads


def receive(upload_id: UUID, path: Path, worker: int) -> str:
    """Receive the same file as the other workers. Returns what the receiver is told, "" for no error."""
    upload = Upload.objects.get(pk=upload_id)
    try:
        uploads.receive(upload, path=path)
    except Conflict as error:
        return error.type
    jobs.bytes_have_come(upload)
    return ""


def complete(job_id: UUID, worker: int) -> int:
    """Say that all files have been sent. Returns how many items failed by that."""
    return jobs.uploads_completed(Job.objects.get(pk=job_id))


def receive_or_complete(job_id: UUID, upload_id: UUID, path: Path, worker: int) -> str:
    """Receive the file in one half of the workers, and say that all have been sent in the other."""
    if worker % 2:
        return str(complete(job_id, worker))
    return receive(upload_id, path, worker)
