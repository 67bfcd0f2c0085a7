"""TranscribeAPI's words for how a job stands: `status` as its documentation has it, `job_status` as its packages. Pure.

The packages poll until `job_status` is one of FINAL, and never end with any other word. So a job that has ended has
one of these, and its `status` says more.
"""

from collections.abc import Mapping

from accounts.error_types import UNREADABLE_TYPES, URL_TYPES, ErrorType

FINAL = ("completed", "failed", "insufficient_funds")
NO_CREDIT = "failed_insufficient_credits"
RESULT_MISSING = "failed_result_missing"
CANCELED = "failed_canceled"
FAILED = "failed_transcription"
# Of a job that has not ended: ours -> theirs, which has no word for one that is worked on.
OPEN: Mapping[str, str] = {
    "uploading": "uploading",
    "verifying": "verifying",
    "queued": "queued",
    "processing": "queued",
}
# Of a job that has completed: (all went well, its webhook was given up) -> theirs.
COMPLETED: Mapping[tuple[bool, bool], str] = {
    (True, False): "completed",
    (True, True): "result_available",
    (False, False): "completed_with_errors",
    (False, True): "result_available_with_errors",
}
# Of a job that failed, by the type of its error: (of one recording, of a batch).
FAILURES: Mapping[str, tuple[str, str]] = {
    ErrorType.INSUFFICIENT_BALANCE: (NO_CREDIT, NO_CREDIT),
    ErrorType.SPEND_LIMIT_REACHED: (NO_CREDIT, NO_CREDIT),
    ErrorType.WALLET_FROZEN: (NO_CREDIT, NO_CREDIT),
    ErrorType.UPLOAD_EXPIRED: ("failed_upload_missing", "failed_missing_batch_file"),
    ErrorType.UPLOAD_MISSING: ("failed_upload_missing", "failed_missing_batch_file"),
    ErrorType.UPLOAD_NOT_RECEIVED: ("failed_upload_missing", "failed_missing_batch_file"),
    ErrorType.FILE_NOT_FOUND: ("failed_upload_missing", "failed_missing_batch_file"),
    ErrorType.UPLOAD_SIZE_MISMATCH: ("failed_upload_size_mismatch", "failed_batch_size_mismatch"),
    ErrorType.LENGTH_MISMATCH: ("failed_upload_size_mismatch", "failed_batch_size_mismatch"),
    ErrorType.BATCH_TOO_LARGE: ("failed_batch_too_large", "failed_batch_too_large"),
    ErrorType.BODY_TOO_LARGE: ("failed_batch_too_large", "failed_batch_too_large"),
    ErrorType.RESULT_NOT_FOUND: (RESULT_MISSING, RESULT_MISSING),
    **dict.fromkeys(
        URL_TYPES,
        ("failed_source_missing", "failed_source_missing"),
    ),
    **dict.fromkeys(
        UNREADABLE_TYPES,
        ("failed_unsupported_format", "failed_unsupported_batch_format"),
    ),
    ErrorType.AUDIO_TOO_LONG: ("failed_audio_too_long", "failed_audio_too_long"),
}


def open_status(status: str) -> str:
    """Return the word for a job that has not ended. status: ours."""
    return OPEN[status]


def completed_status(*, is_whole: bool, webhook_was_lost: bool) -> str:
    """Return the word for a job that has a result. is_whole: every recording has completed."""
    return COMPLETED[is_whole, webhook_was_lost]


def failed_status(error_type: str, *, is_batch: bool) -> str:
    """Return the word for a job that failed. error_type: ours; "" for one that was canceled."""
    if not error_type:
        return CANCELED
    of_one, of_batch = FAILURES.get(error_type, (FAILED, FAILED))
    return of_batch if is_batch else of_one


def job_status_of(status: str) -> str:
    """Return `job_status` for a `status`: the same until the job has ended, then one of FINAL."""
    if status in COMPLETED.values():
        return "completed"
    if status == NO_CREDIT:
        return "insufficient_funds"
    return "failed" if status.startswith("failed_") else status
