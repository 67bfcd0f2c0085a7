"""All of transcription's models."""

from transcription.models.answers import Answer
from transcription.models.corrections import SegmentRevision, SpeakerName
from transcription.models.intake import IntakePause
from transcription.models.jobs import FINAL_STATUSES, Job, JobItem, JobQuerySet, Priority, Status
from transcription.models.recordings import Import, Media, MediaQuerySet, Upload, UploadState
from transcription.models.search import SearchText
from transcription.models.sharing import ShareLink
from transcription.models.tags import JobTag
from transcription.models.webhooks import (
    Delivery,
    DeliveryAttempt,
    DeliveryQuerySet,
    DeliveryState,
    EventType,
    Fault,
    SigningKey,
    WebhookEndpoint,
)

__all__ = [
    "FINAL_STATUSES",
    "Answer",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryQuerySet",
    "DeliveryState",
    "EventType",
    "Fault",
    "Import",
    "IntakePause",
    "Job",
    "JobItem",
    "JobQuerySet",
    "JobTag",
    "Media",
    "MediaQuerySet",
    "Priority",
    "SearchText",
    "SegmentRevision",
    "ShareLink",
    "SigningKey",
    "SpeakerName",
    "Status",
    "Upload",
    "UploadState",
    "WebhookEndpoint",
]
