"""What a failed attempt at an upstream means: for the client, and for the next attempt."""

import json
import logging
import re
from collections.abc import Iterable

from accounts.errors import VoxsiteError
from apex.errors import UpstreamBroken, UpstreamBusy, UpstreamRefused, UpstreamSilent
from apex.http_client import Response

logger = logging.getLogger(__name__)

MAX_ERROR_BYTES = 64 * 1024
# The delay before the second attempt, unless Retry-After says more. A Retry-After above the maximum prevents it.
RETRY_DELAY_SECONDS = 0.2
MAX_RETRY_DELAY_SECONDS = 3.0
# The most that a client is told in Retry-After.
MAX_RETRY_AFTER_SECONDS = 60
# Statuses that blame the request. Another upstream would refuse it too.
REFUSAL_STATUSES = (400, 413, 422)
# What an upstream's error message may not pass on to a customer: API keys and addresses.
SECRET_PATTERN = re.compile(r"\b(sk|key|pk|rk)[-_][\w-]{6,}|https?://\S+|Bearer\s+\S+", re.IGNORECASE)


class UpstreamAttemptFailed(Exception):
    """One attempt at one upstream failed.

    error: what the client is told if no other attempt succeeds.
    reason: for the log.
    retry_delay_seconds: the delay before the second attempt.
    may_be_request_fault: the request may have caused the failure, so the circuit breaker does not count it.
    """

    def __init__(
        self,
        error: VoxsiteError,
        *,
        reason: str,
        retry_delay_seconds: float = RETRY_DELAY_SECONDS,
        may_be_request_fault: bool = False,
    ) -> None:
        self.error = error
        self.reason = reason
        self.retry_delay_seconds = retry_delay_seconds
        self.may_be_request_fault = may_be_request_fault
        super().__init__(reason)

    @property
    def may_be_repeated(self) -> bool:
        """Whether the same upstream may be asked once more.

        Not after a time-out: it may have done the work, which the operator pays, and the client has waited enough.
        """
        return not isinstance(self.error, UpstreamSilent) and self.retry_delay_seconds <= MAX_RETRY_DELAY_SECONDS


class StreamEnded(UpstreamAttemptFailed):
    """The stream broke, stopped or was closed before [DONE]. It is whole all the same if every choice has finished."""


def most_helpful(failures: Iterable[UpstreamAttemptFailed]) -> VoxsiteError:
    """Return what the client is told of several failures: when to come again, or else that the answer took too long."""
    ranks = (UpstreamBusy, UpstreamSilent)
    errors = [failure.error for failure in failures]
    return next((error for kind in ranks for error in errors if isinstance(error, kind)), errors[-1])


async def read_body(response: Response, *, max_bytes: int) -> bytes:
    """Return the body. Of a body over the limit, return only the beginning, which is longer than `max_bytes`."""
    parts, size = [], 0
    while size <= max_bytes and (part := await response.read_any()):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


async def raise_for_status(response: Response, *, name: str, api_key: str) -> None:
    """Raise UpstreamRefused or UpstreamAttemptFailed for an answer with a status other than 200."""
    if response.status in REFUSAL_STATUSES:
        raise UpstreamRefused(_error_message(await read_body(response, max_bytes=MAX_ERROR_BYTES), api_key=api_key))
    reason = f"it answered {response.status}"
    if response.status in {429, 503} and (retry_after := _retry_after(response)) is not None:
        error = UpstreamBusy(retry_after=max(1, min(MAX_RETRY_AFTER_SECONDS, round(retry_after))))
        raise UpstreamAttemptFailed(error, reason=reason, retry_delay_seconds=retry_after)
    if response.status == 429:
        raise UpstreamAttemptFailed(UpstreamBusy(retry_after=1), reason=reason)
    if response.status in {401, 402, 403, 404}:
        logger.error("%s answered %s: its key, credit, address or model names are wrong.", name, response.status)
        raise UpstreamAttemptFailed(
            UpstreamBroken(),
            reason=reason,
            # Too long for a second attempt, which would fail as well.
            retry_delay_seconds=MAX_RETRY_DELAY_SECONDS + 1,
            # Some routers answer 403 when their moderation rejects the content of a request.
            may_be_request_fault=response.status == 403,
        )
    raise UpstreamAttemptFailed(UpstreamBroken(), reason=reason)


def _retry_after(response: Response) -> float | None:
    """Return the seconds in the header Retry-After, None if it is missing, a date or no number."""
    value = response.headers.get("retry-after", "")
    return float(value) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value) else None


def _error_message(raw: bytes, *, api_key: str) -> str:
    """Return the upstream's message about a wrong request, with secrets removed; "" if there is none."""
    try:
        content = json.loads(raw)
        # Gemini wraps its errors in a list.
        error = (content[0] if isinstance(content, list) else content)["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (ValueError, RecursionError, KeyError, IndexError, TypeError):
        return ""
    if not isinstance(message, str) or (api_key and api_key in message):
        return ""
    return SECRET_PATTERN.sub("[removed]", "".join(each for each in message if each.isprintable()))[:500]
