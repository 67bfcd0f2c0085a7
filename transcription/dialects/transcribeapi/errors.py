"""TranscribeAPI's errors: its published codes, and which of them each fault of ours has. Pure.

Source: TranscribeAPI's documentation, "Errors", read 2026-11-29.
"""

from collections.abc import Mapping
from typing import Any

from accounts.error_types import UNREADABLE_TYPES, URL_TYPES, ErrorType
from accounts.errors import BadRequest, VoxsiteError

# Status and code, as they are published.
PUBLISHED: Mapping[str, int] = {
    "audio_too_long": 400,
    "batch_too_large": 400,
    "file_too_large": 400,
    "invalid_file_metadata": 400,
    "invalid_form_data": 400,
    "invalid_job_request": 400,
    "invalid_json": 400,
    "invalid_request_options": 400,
    "invalid_upload": 400,
    "invalid_upload_page": 400,
    "invalid_upload_type": 400,
    "missing_file": 400,
    "too_many_files": 400,
    "invalid_api_key": 401,
    "missing_api_key": 401,
    "insufficient_credit": 402,
    "email_not_verified": 403,
    "job_not_found": 404,
    "not_found": 404,
    "invalid_job_status": 409,
    "result_not_available": 409,
    "rate_limit_exceeded": 429,
    "internal_error": 500,
    "transcription_failed": 502,
}
# Ours, for what the published ones cannot say.
ADDED: Mapping[str, int] = {
    "method_not_allowed": 405,
    "forbidden": 403,
    "insufficient_scope": 403,
    "request_timeout": 408,
    "conflict": 409,
    "idempotency_key_reused": 409,
    "idempotency_key_in_use": 409,
    "answer_not_kept": 409,
    "no_room": 503,
    "unavailable": 503,
    "not_configured": 503,
    "timed_out": 504,
    # Of POST /add-funds.
    "no_saved_card": 402,
    "card_declined": 402,
    "monthly_cap_reached": 402,
    "topup_in_progress": 409,
    "payment_failed": 502,
    "result_expired": 403,
}
# What a fault is called where the request says what shall be done.
OPTIONS = "invalid_request_options"
JOB_REQUEST = "invalid_job_request"
_FAILURES = (
    ErrorType.SPEECH_ERROR,
    ErrorType.ENGINE_ERROR,
    ErrorType.ENGINE_FAILED,
    ErrorType.ENGINE_UNAVAILABLE,
    ErrorType.DECODER_UNAVAILABLE,
    ErrorType.UNKNOWN_ENGINE,
    ErrorType.UNKNOWN_DIARIZER,
    ErrorType.STOPPED,
    ErrorType.WORKER_LOST,
    ErrorType.UPSTREAM_FAILED,
    ErrorType.UPSTREAM_BUSY,
    ErrorType.UPSTREAM_TIMEOUT,
    ErrorType.REFUSED_BY_MODEL,
)
# Our type -> code. None: OPTIONS or JOB_REQUEST, whichever the address has.
CODES: Mapping[str, str | None] = {
    ErrorType.INVALID_REQUEST: None,
    ErrorType.MISSING_FIELD: None,
    ErrorType.UNKNOWN_FIELD: None,
    ErrorType.INVALID_FIELD: None,
    ErrorType.INVALID_OPTION: None,
    ErrorType.UNKNOWN_LANGUAGE: None,
    ErrorType.UNSUPPORTED_MEDIA_TYPE: "invalid_form_data",
    ErrorType.METHOD_NOT_ALLOWED: "method_not_allowed",
    ErrorType.REQUEST_TIMEOUT: "request_timeout",
    ErrorType.BODY_TOO_LARGE: "file_too_large",
    ErrorType.NOT_FOUND: "not_found",
    ErrorType.CONFLICT: "conflict",
    ErrorType.MISSING_API_KEY: "missing_api_key",
    ErrorType.INVALID_API_KEY: "invalid_api_key",
    ErrorType.EMAIL_NOT_VERIFIED: "email_not_verified",
    ErrorType.FORBIDDEN: "forbidden",
    ErrorType.INSUFFICIENT_SCOPE: "insufficient_scope",
    ErrorType.RATE_LIMITED: "rate_limit_exceeded",
    ErrorType.TOO_MANY_OPEN: "rate_limit_exceeded",
    ErrorType.IDEMPOTENCY_KEY_REUSED: "idempotency_key_reused",
    ErrorType.IDEMPOTENCY_KEY_IN_USE: "idempotency_key_in_use",
    ErrorType.ANSWER_NOT_KEPT: "answer_not_kept",
    ErrorType.INSUFFICIENT_BALANCE: "insufficient_credit",
    ErrorType.SPEND_LIMIT_REACHED: "insufficient_credit",
    ErrorType.WALLET_FROZEN: "insufficient_credit",
    ErrorType.CARD_DECLINED: "card_declined",
    ErrorType.PAYMENT_REFUSED: "card_declined",
    ErrorType.PAYMENT_SERVICE_FAILED: "payment_failed",
    **dict.fromkeys(UNREADABLE_TYPES, OPTIONS),
    ErrorType.AUDIO_TOO_LONG: "audio_too_long",
    ErrorType.LENGTH_MISMATCH: OPTIONS,
    ErrorType.UPLOAD_NOT_RECEIVED: "invalid_job_status",
    ErrorType.UPLOAD_ALREADY_RECEIVED: "invalid_job_status",
    ErrorType.UPLOAD_SIZE_MISMATCH: "invalid_file_metadata",
    ErrorType.UPLOAD_EXPIRED: "invalid_job_status",
    ErrorType.UPLOAD_MISSING: "invalid_job_status",
    **dict.fromkeys(URL_TYPES, OPTIONS),
    ErrorType.FILE_NOT_FOUND: "missing_file",
    ErrorType.TOO_MANY_STORED_FILES: "conflict",
    ErrorType.TOO_MANY_FILES: "too_many_files",
    ErrorType.BATCH_TOO_LARGE: "batch_too_large",
    ErrorType.JOB_NOT_FOUND: "job_not_found",
    ErrorType.INVALID_JOB_STATUS: "invalid_job_status",
    ErrorType.JOB_HAS_ENDED: "invalid_job_status",
    ErrorType.JOB_RUNS: "invalid_job_status",
    ErrorType.NOTHING_TO_RUN_AGAIN: "invalid_job_status",
    ErrorType.RESULT_NOT_FOUND: "result_not_available",
    ErrorType.SEVERAL_RESULTS: "result_not_available",
    **dict.fromkeys(_FAILURES, "transcription_failed"),
    ErrorType.INTERNAL_ERROR: "internal_error",
    ErrorType.TIMED_OUT: "timed_out",
    ErrorType.NO_ROOM: "no_room",
    ErrorType.UNAVAILABLE: "unavailable",
    ErrorType.NOT_CONFIGURED: "not_configured",
}
# Statuses of ours that mean the same for every code of theirs.
_KEPT_STATUSES = frozenset({503})


class Refused(BadRequest):
    """A request that TranscribeAPI has a code of its own for."""

    default_type = ErrorType.INVALID_FIELD

    def __init__(self, code: str, message: str, **data: object) -> None:
        super().__init__(message)
        self.data = data
        assert code in PUBLISHED or code in ADDED, "codes are public"
        self.code = code


def code_of(error: VoxsiteError, *, invalid: str = OPTIONS) -> str:
    """Return the code of an error. invalid: what a field is called that is wrong, at this address."""
    if isinstance(error, Refused):
        return error.code
    return CODES[error.type] or invalid


def status_of(error: VoxsiteError) -> int:
    """Return the HTTP status of an error, as TranscribeAPI has it for the code."""
    if error.http_status in _KEPT_STATUSES:
        return error.http_status
    code = code_of(error)
    return PUBLISHED.get(code) or ADDED[code]


def show_error(error: VoxsiteError, *, request_id: str, invalid: str = OPTIONS) -> dict[str, Any]:
    """Return the body of an error.

    `error` is a text, as published; the newer packages read `message` first. `type` and `request_id` are ours. Data of
    the error stands beside them, but cannot replace `code`.
    """
    return {
        **error.data,
        "error": error.message,
        "message": error.message,
        "code": code_of(error, invalid=invalid),
        "type": str(error.type),
        "request_id": request_id,
    }
