"""Jobs: submit, work, finish, fail, cancel, delete, read the result, reconcile. `lifecycle` is the place to start."""

from transcription.jobs.batches import submit_sources, submit_uploads, uploads_completed
from transcription.jobs.charging import (
    billed_seconds,
    billed_seconds_of,
    names_of_references,
    quote_micros,
    require_funds,
    tags_of,
    track_count,
)
from transcription.jobs.deletion import delete
from transcription.jobs.editing import MAX_EDITS, Edit, merge_speakers, move, name_speaker, revise, separate_speaker
from transcription.jobs.lifecycle import (
    Superseded,
    cancel,
    claim,
    fail_item,
    finish_item,
    lock_job,
    may_run_again,
    record_shown,
    reject_item,
    run_again,
    submit,
    submit_batch,
    touch,
)
from transcription.jobs.purging import purge
from transcription.jobs.reconciliation import fail_expired_uploads, reconcile
from transcription.jobs.results import (
    items_of,
    items_page,
    original_of_item,
    require_results,
    retrieve,
    retrieve_item,
    transcript_of,
    transcript_of_item,
)
from transcription.jobs.retention import Retention, recorded_once_sent
from transcription.jobs.sharing import LIFETIMES_DAYS, live_links, purge_links, revoke_link, share, shared_by
from transcription.jobs.submission import OF_THE_REQUEST, Source, Submission
from transcription.jobs.verification import bytes_have_come, verify_item

__all__ = [
    "LIFETIMES_DAYS",
    "MAX_EDITS",
    "OF_THE_REQUEST",
    "Edit",
    "Retention",
    "Source",
    "Submission",
    "Superseded",
    "billed_seconds",
    "billed_seconds_of",
    "bytes_have_come",
    "cancel",
    "claim",
    "delete",
    "fail_expired_uploads",
    "fail_item",
    "finish_item",
    "items_of",
    "items_page",
    "live_links",
    "lock_job",
    "may_run_again",
    "merge_speakers",
    "move",
    "name_speaker",
    "names_of_references",
    "original_of_item",
    "purge",
    "purge_links",
    "quote_micros",
    "reconcile",
    "record_shown",
    "recorded_once_sent",
    "reject_item",
    "require_funds",
    "require_results",
    "retrieve",
    "retrieve_item",
    "revise",
    "revoke_link",
    "run_again",
    "separate_speaker",
    "share",
    "shared_by",
    "submit",
    "submit_batch",
    "submit_sources",
    "submit_uploads",
    "tags_of",
    "touch",
    "track_count",
    "transcript_of",
    "transcript_of_item",
    "uploads_completed",
    "verify_item",
]
