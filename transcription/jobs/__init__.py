"""Jobs: submit, work, finish, fail, cancel, delete, read the result, reconcile. `lifecycle` is the place to start."""

from transcription.jobs.charging import require_funds, track_count
from transcription.jobs.lifecycle import (
    Superseded,
    cancel,
    claim,
    delete,
    fail_item,
    finish_item,
    submit,
    submit_batch,
    touch,
)
from transcription.jobs.reconciliation import reconcile
from transcription.jobs.results import transcript_of, transcript_of_item

__all__ = [
    "Superseded",
    "cancel",
    "claim",
    "delete",
    "fail_item",
    "finish_item",
    "reconcile",
    "require_funds",
    "submit",
    "submit_batch",
    "touch",
    "track_count",
    "transcript_of",
    "transcript_of_item",
]
