"""Jobs: submit, work, finish, fail, cancel, delete, read the result, reconcile. `lifecycle` is the place to start."""

from transcription.jobs.charging import require_funds, track_count
from transcription.jobs.lifecycle import (
    Superseded,
    cancel,
    claim,
    delete,
    fail_item,
    finish_item,
    lock_job,
    record_shown,
    reject_item,
    run_again,
    submit,
    submit_batch,
    submit_uploads,
    touch,
)
from transcription.jobs.purging import purge
from transcription.jobs.reconciliation import fail_expired_uploads, reconcile
from transcription.jobs.results import retrieve, retrieve_item, transcript_of, transcript_of_item
from transcription.jobs.retention import Retention
from transcription.jobs.submission import Submission
from transcription.jobs.verification import bytes_have_come, verify_item

__all__ = [
    "Retention",
    "Submission",
    "Superseded",
    "bytes_have_come",
    "cancel",
    "claim",
    "delete",
    "fail_expired_uploads",
    "fail_item",
    "finish_item",
    "lock_job",
    "purge",
    "reconcile",
    "record_shown",
    "reject_item",
    "require_funds",
    "retrieve",
    "retrieve_item",
    "run_again",
    "submit",
    "submit_batch",
    "submit_uploads",
    "touch",
    "track_count",
    "transcript_of",
    "transcript_of_item",
    "verify_item",
]
