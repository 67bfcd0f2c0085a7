"""Sends one webhook and says what came of it. Writes nothing: results go to `delivery.record`."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import cast

from django.utils import timezone

from accounts import encryption
from transcription import outbound
from transcription.models import Fault
from transcription.webhooks.delivery import GONE_STATUS, Request, Result

logger = logging.getLogger(__name__)

# From the look-up of the host to the status of the answer.
TOTAL_SECONDS = 15
# The body of an answer is for the log only, so it is not waited for as long as for the status.
BODY_SECONDS = 2
# What the log keeps of an answer.
MAX_BODY_BYTES = 4096
MAX_HEADERS = 30
MAX_HEADER_LENGTH = 300
# They are for browsers, and may be secrets of the receiver.
UNLOGGED_HEADERS = frozenset({"set-cookie", "www-authenticate"})

FAULTS: tuple[tuple[type[outbound.OutboundError], Fault], ...] = (
    (outbound.TooSlow, Fault.TIMEOUT),
    (outbound.Stalled, Fault.TIMEOUT),
    (outbound.UnknownHost, Fault.UNKNOWN_HOST),
)


async def send(request: Request, *, total_seconds: float = TOTAL_SECONDS, body_seconds: float = BODY_SECONDS) -> Result:
    """Send a request and return its result. Redirects are not followed.

    total_seconds: from the look-up of the host to the status of the answer. body_seconds: for the body after that.
    """
    try:
        return await _send(request, total_seconds=total_seconds, body_seconds=body_seconds)
    except outbound.AddressRefused as error:
        fault, detail = Fault.REFUSED, str(error)
    except outbound.OutboundError as error:
        fault = next((fault for kind, fault in FAULTS if isinstance(error, kind)), Fault.UNREACHABLE)
        detail = str(error)
    except Exception:  # A message that breaks the sender must not stop all others. It is tried again by the schedule.
        logger.exception("The webhook %s could not be sent.", request.delivery_id)
        fault, detail = Fault.INTERRUPTED, "Something went wrong on our side."
    return Result(request=request, finished_at=timezone.now(), fault=fault, detail=detail)


async def _send(request: Request, *, total_seconds: float, body_seconds: float) -> Result:
    status: int | None = None
    headers: dict[str, str] = {}
    body = b""
    sent = dict(request.headers)
    if request.own_header:
        # Here and not at the claim: one value that no key of the site opens must not stop the messages of all others.
        sent[request.own_header] = encryption.decrypt(sent[request.own_header])
    # The answer is never collected whole, so its size needs no limit of its own.
    limits = outbound.Limits(max_bytes=2**40, total_seconds=total_seconds, idle_seconds=total_seconds)
    try:
        async with outbound.call(request.url, limits=limits, method="POST", headers=sent, body=request.body) as answer:
            status, headers = answer.status, _logged(answer.headers)
            with suppress(TimeoutError):
                async with (
                    asyncio.timeout(body_seconds),
                    aclosing(cast("AsyncGenerator[bytes]", answer.chunks())) as pieces,
                ):
                    async for piece in pieces:
                        body += piece[: MAX_BODY_BYTES - len(body)]
                        if len(body) >= MAX_BODY_BYTES:
                            break
    except outbound.OutboundError:
        if status is None:
            raise
    assert status is not None, "the block above runs after the status has come, or raises"
    fault, detail = _judged(status, location=headers.get("Location", ""))
    return Result(
        request=request,
        finished_at=timezone.now(),
        status=status,
        headers=headers,
        body=_clean(body.decode(errors="replace")),
        fault=fault,
        detail=detail,
    )


def _judged(status: int, *, location: str) -> tuple[Fault | None, str]:
    """Return what is wrong with an answer, None for nothing, and a sentence about it.

    Whatever is wrong, it is sent again by the schedule, except after 410 (`delivery.record`).
    """
    if 200 <= status < 300:
        return None, ""
    if status == GONE_STATUS:
        return Fault.GONE, "The receiver answered 410 Gone, so nothing more is sent."
    if 300 <= status < 400:
        to = f" to {location}" if location else ""
        return Fault.REDIRECT, f"The receiver redirects{to}. Redirects are not followed."
    return Fault.STATUS, f"The receiver answered {status}. A status from 200 to 299 is expected."


def _logged(headers: Mapping[str, str]) -> dict[str, str]:
    shown = [(name, value) for name, value in headers.items() if name.lower() not in UNLOGGED_HEADERS]
    return {_clean(name)[:100]: _clean(value)[:MAX_HEADER_LENGTH] for name, value in shown[:MAX_HEADERS]}


def _clean(text: str) -> str:
    """Return the text as the database can store it: without NUL characters and halves of characters."""
    return text.replace("\0", "").encode(errors="replace").decode()
