"""All of transcription's models."""

from transcription.models.answers import Answer
from transcription.models.jobs import FINAL_STATUSES, Job, JobItem, JobQuerySet, Priority, Status
from transcription.models.recordings import Media, MediaQuerySet, Upload, UploadState
from transcription.models.search import SearchText

__all__ = [
    "FINAL_STATUSES",
    "Answer",
    "Job",
    "JobItem",
    "JobQuerySet",
    "Media",
    "MediaQuerySet",
    "Priority",
    "SearchText",
    "Status",
    "Upload",
    "UploadState",
]
