"""The `type` of every error of a request or of a job: a slug that programs compare."""

from enum import StrEnum


class ErrorType(StrEnum):
    """Every `type` of an error of a request or of a job. It is public, so none is ever renamed or removed.

    The table of codes of a dialect must have a code for each.
    """

    # Faults of the request.
    INVALID_REQUEST = "invalid_request"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    INVALID_FIELD = "invalid_field"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    BODY_TOO_LARGE = "body_too_large"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"

    # Authentication, permissions and rate limits.
    MISSING_API_KEY = "missing_api_key"
    INVALID_API_KEY = "invalid_api_key"
    EMAIL_NOT_VERIFIED = "email_not_verified"
    FORBIDDEN = "forbidden"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_OPEN = "too_many_open"

    # Requests that are sent twice.
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    IDEMPOTENCY_KEY_IN_USE = "idempotency_key_in_use"
    ANSWER_NOT_KEPT = "answer_not_kept"

    # Money.
    INSUFFICIENT_BALANCE = "insufficient_balance"
    SPEND_LIMIT_REACHED = "spend_limit_reached"
    WALLET_FROZEN = "wallet_frozen"
    CARD_DECLINED = "card_declined"
    PAYMENT_REFUSED = "payment_refused"
    PAYMENT_SERVICE_FAILED = "payment_service_failed"

    # Recordings, as `transcription.speech.errors` names them.
    INVALID_MEDIA = "invalid_media"
    INVALID_AUDIO = "invalid_audio"
    EMPTY_AUDIO = "empty_audio"
    NO_DURATION = "no_duration"
    NOT_AUDIO = "not_audio"
    NO_AUDIO_TRACK = "no_audio_track"
    TRUNCATED_AUDIO = "truncated_audio"
    AUDIO_TOO_LONG = "audio_too_long"
    LENGTH_MISMATCH = "length_mismatch"

    # Uploads that were announced before their bytes came.
    UPLOAD_NOT_RECEIVED = "upload_not_received"
    UPLOAD_ALREADY_RECEIVED = "upload_already_received"
    UPLOAD_SIZE_MISMATCH = "upload_size_mismatch"
    UPLOAD_EXPIRED = "upload_expired"
    UPLOAD_MISSING = "upload_missing"

    # URLs from which recordings are fetched.
    URL_NOT_ALLOWED = "url_not_allowed"
    URL_NOT_FOUND = "url_not_found"
    URL_REFUSED = "url_refused"
    URL_UNREACHABLE = "url_unreachable"
    URL_TOO_LARGE = "url_too_large"
    URL_TOO_SLOW = "url_too_slow"

    # Files that were sent without a job.
    FILE_NOT_FOUND = "file_not_found"
    TOO_MANY_STORED_FILES = "too_many_stored_files"

    # Jobs of many files.
    TOO_MANY_FILES = "too_many_files"
    BATCH_TOO_LARGE = "batch_too_large"

    # Jobs and their results.
    JOB_NOT_FOUND = "job_not_found"
    JOB_HAS_ENDED = "job_has_ended"
    JOB_RUNS = "job_runs"
    INVALID_JOB_STATUS = "invalid_job_status"
    NOTHING_TO_RUN_AGAIN = "nothing_to_run_again"
    RESULT_NOT_FOUND = "result_not_found"
    SEVERAL_RESULTS = "several_results"

    # Options of speech recognition.
    INVALID_OPTION = "invalid_option"
    UNKNOWN_LANGUAGE = "unknown_language"

    # Faults on the side of the service.
    INTERNAL_ERROR = "internal_error"
    SPEECH_ERROR = "speech_error"
    ENGINE_ERROR = "engine_error"
    ENGINE_FAILED = "engine_failed"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    DECODER_UNAVAILABLE = "decoder_unavailable"
    UNKNOWN_ENGINE = "unknown_engine"
    UNKNOWN_DIARIZER = "unknown_diarizer"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    WORKER_LOST = "worker_lost"
    NO_ROOM = "no_room"
    UNAVAILABLE = "unavailable"
    NOT_CONFIGURED = "not_configured"

    # Services that the service depends on.
    UPSTREAM_FAILED = "upstream_failed"
    UPSTREAM_BUSY = "upstream_busy"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    REFUSED_BY_MODEL = "refused_by_model"


# Whatever is wrong with the bytes of a recording; its length and what was declared of it are other faults.
UNREADABLE_TYPES = (
    ErrorType.INVALID_MEDIA,
    ErrorType.INVALID_AUDIO,
    ErrorType.EMPTY_AUDIO,
    ErrorType.NO_DURATION,
    ErrorType.NOT_AUDIO,
    ErrorType.NO_AUDIO_TRACK,
    ErrorType.TRUNCATED_AUDIO,
)


# Whatever keeps the file at a URL from being had.
URL_TYPES = (
    ErrorType.URL_NOT_ALLOWED,
    ErrorType.URL_NOT_FOUND,
    ErrorType.URL_REFUSED,
    ErrorType.URL_UNREACHABLE,
    ErrorType.URL_TOO_LARGE,
    ErrorType.URL_TOO_SLOW,
)
