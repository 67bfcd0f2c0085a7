"""All errors that are shown to callers.

VoxsiteError
├── BadRequest 400           invalid_request
│   ├── MissingField         missing_field          param
│   ├── UnknownField         unknown_field          param
│   ├── InvalidField         invalid_field          param
│   ├── BadMedia             (slug of the fault)    param
│   └── UnsupportedMediaType unsupported_media_type
├── Unauthorized 401         missing_api_key, invalid_api_key
├── PaymentRequired 402      insufficient_balance   required_cents, available_cents, required_micros, available_micros
│                            billing.stripe_api: card_declined (code, decline_code)
├── Forbidden 403            forbidden, email_not_verified
│   └── InsufficientScope    insufficient_scope     required_scopes
├── NotFound 404             not_found, job_not_found, result_not_found, file_not_found
├── MethodNotAllowed 405     method_not_allowed
├── RequestTimeout 408       request_timeout
├── Conflict 409             conflict, idempotency_key_reused, idempotency_key_in_use, job_has_ended;
│                            billing.ledger: ReferenceReused, HoldReleased, HoldSettled;
│                            billing.stripe_api: payment_refused
├── TooLarge 413             body_too_large
├── RateLimited 429          rate_limited           retry_after
│   ├── TooManyOpen          too_many_open
│   └── TooManyUploads       too_many_open          retry_after
├── InternalError 500        internal_error
├── TranscriptionFailed 500  the type of the job's error
├── UpstreamFailed 502       upstream_failed; billing.stripe_api: payment_service_failed
├── NoRoom 503               no_room                retry_after
├── Unavailable 503          unavailable            retry_after
├── NotConfigured 503        not_configured
└── WaitedTooLong 504        timed_out

`type` is public: programs compare it, so it is never renamed. `message` is for people and may change. `data` is sent
with them. Domain verbs raise these errors, and only the gate's views and the pages turn one into a response.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from accounts.error_types import ErrorType


class VoxsiteError(Exception):
    """Base class of all errors that are shown to callers."""

    http_status: ClassVar[int] = 500
    default_type: ClassVar[str] = "internal_error"
    default_message: ClassVar[str] = "Something went wrong on our side. Nothing was charged."
    # Headers of the response.
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str = "", *, error_type: str = "", **data: object) -> None:
        self.message = message or self.default_message
        # A type outside the enum would be missing from the dialects' tables too, so it is a bug.
        self.type = ErrorType(error_type or self.default_type)
        self.data = data
        super().__init__(self.message)


class BadRequest(VoxsiteError):
    """The request cannot be understood or used."""

    http_status = 400
    default_type = "invalid_request"
    default_message = "The request is not valid."


class MissingField(BadRequest):
    """A required field is missing."""

    default_type = "missing_field"

    def __init__(self, param: str, message: str = "") -> None:
        super().__init__(message or f"The field '{param}' is required.", param=param)


class UnknownField(BadRequest):
    """The endpoint does not have this field. It is refused and not ignored, because it is probably a typing error."""

    default_type = "unknown_field"

    def __init__(self, param: str, *, known: list[str]) -> None:
        shown = param[:64]
        super().__init__(f"There is no field '{shown}'. Known fields: {', '.join(known)}.", param=shown)


class InvalidField(BadRequest):
    """The value of a field is not allowed."""

    default_type = "invalid_field"

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message, param=param)


class BadMedia(BadRequest):
    """The recording cannot be used. The type is the slug of an error in `transcription.speech.errors`."""

    default_type = "invalid_media"


class Unauthorized(VoxsiteError):
    """No API key, or no valid one."""

    http_status = 401
    default_type = "invalid_api_key"
    default_message = "Invalid API key."


class PaymentRequired(VoxsiteError):
    """The balance does not cover the price."""

    http_status = 402
    default_type = "insufficient_balance"


class Forbidden(VoxsiteError):
    """The caller is known but does not have this permission."""

    http_status = 403
    default_type = "forbidden"
    default_message = "You do not have access."


class InsufficientScope(Forbidden):
    """The key has none of the scopes that this address needs.

    required: names of scopes, of which one is enough.
    """

    default_type = "insufficient_scope"

    def __init__(self, required: Sequence[str]) -> None:
        names = " or ".join(f"'{name}'" for name in required)
        super().__init__(
            f"This API key does not have the scope {names}. An admin of your organization can change the scopes of a "
            "key.",
            required_scopes=list(required),
        )


class NotFound(VoxsiteError):
    """The object does not exist or belongs to another organization. Both cases look the same on purpose."""

    http_status = 404
    default_type = "not_found"
    default_message = "This does not exist, or it belongs to another organization."


class MethodNotAllowed(VoxsiteError):
    """The address does not support this HTTP method."""

    http_status = 405
    default_type = "method_not_allowed"
    default_message = "Method not allowed."


class RequestTimeout(VoxsiteError):
    """The body did not arrive in time."""

    http_status = 408
    default_type = "request_timeout"
    default_message = "The request did not arrive in time."


class Conflict(VoxsiteError):
    """The request conflicts with the current state."""

    http_status = 409
    default_type = "conflict"


class TooLarge(VoxsiteError):
    """The body is larger than this endpoint accepts."""

    http_status = 413
    default_type = "body_too_large"
    default_message = "The request is too large."


class UnsupportedMediaType(BadRequest):
    """The endpoint does not read this Content-Type. The status is 400 and not 415, as in VoxParse's published table."""

    default_type = "unsupported_media_type"


class RateLimited(VoxsiteError):
    """Too many requests in the window.

    retry_after: whole seconds until the next request is accepted. headers: the rate limit headers of the response.
    """

    http_status = 429
    default_type = "rate_limited"

    def __init__(self, *, retry_after: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"Too many requests. Try again in {retry_after} seconds.", retry_after=retry_after)
        self.headers = {"Retry-After": str(retry_after), **(headers or {})}


class TooManyOpen(RateLimited):
    """The organization has reached its limit of open requests of one kind.

    what: the kind, in the plural.
    """

    default_type = "too_many_open"

    def __init__(self, what: str, *, limit: int) -> None:
        super().__init__(retry_after=1)
        self.message = f"Your organization has {limit} open {what}, which is the limit. Try again when one ends."


class TooManyUploads(RateLimited):
    """So many uploads of the organization wait to be read that no other one may wait."""

    default_type = "too_many_open"

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(retry_after=retry_after)
        self.message = (
            "Too many uploads of your organization wait to be read. Nothing was stored or charged; try again in "
            f"{retry_after} seconds."
        )


class NoRoom(VoxsiteError):
    """So many uploads of all organizations wait to be read that no other one may wait.

    retry_after: whole seconds after which another try makes sense. message: of what else there are too many.
    """

    http_status = 503
    default_type = "no_room"

    def __init__(self, message: str = "", *, retry_after: int) -> None:
        super().__init__(
            message
            or f"Too many uploads wait to be read. Nothing was stored or charged; try again in {retry_after} seconds.",
            retry_after=retry_after,
        )
        self.headers = {"Retry-After": str(retry_after)}


class Unavailable(VoxsiteError):
    """A part that the site cannot serve without, such as the database, does not answer at present.

    retry_after: whole seconds after which another try makes sense.
    """

    http_status = 503
    default_type = "unavailable"

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(
            f"The service is not available at present. Try again in {retry_after} seconds.", retry_after=retry_after
        )
        self.headers = {"Retry-After": str(retry_after)}


class InternalError(VoxsiteError):
    """A bug or fault on our side. The cause is logged and never sent."""


class TranscriptionFailed(VoxsiteError):
    """A transcription that the caller waits for failed on our side. The type is the one of the job's error."""

    default_type = "speech_error"


class UpstreamFailed(VoxsiteError):
    """An external service failed."""

    http_status = 502
    default_type = "upstream_failed"
    default_message = "A service that we depend on failed. Nothing was charged; try again."


class NotConfigured(VoxsiteError):
    """The operator has not configured this part."""

    http_status = 503
    default_type = "not_configured"
    default_message = "This part of the service is not configured."


class WaitedTooLong(VoxsiteError):
    """The work that the caller waits for did not end in time and was canceled. Another try would take as long."""

    http_status = 504
    default_type = "timed_out"


def refuse_unknown(sent: Iterable[str], *, known: Iterable[str]) -> None:
    """Raise UnknownField for the first field that an endpoint does not have."""
    known = list(known)
    for name in sent:
        if name not in known:
            raise UnknownField(str(name), known=known)
