"""Downloads a URL of a customer into a spool, and goes on where the connection broke.

Whether what comes is a recording is found out by the probe, in a confined child. Only web pages are known here by their
first bytes, and are not downloaded. Neither the name nor the type that the server states counts.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from email.utils import parsedate_to_datetime

from accounts.errors import BadMedia, TooLarge, VoxsiteError
from transcription import outbound
from transcription.outbound import Answer, Limits, LookUp
from transcription.recordings.disk_space import DiskFull
from transcription.recordings.spools import Spool
from transcription.speech import containers

logger = logging.getLogger(__name__)

# How long to wait after a failure: the first pause after one that brought new bytes, the next ones after failures in a
# row that brought none. When they are used up, the server is given up.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
# Statuses that another try may mend.
PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)
MISSING_STATUSES = (404, 410)
STOP_CHECK_SECONDS = 0.2
# A date is a strong validator if it was so old when the entity was sent (RFC 9110, 8.8.2.2).
STRONG_DATE_AGE = timedelta(seconds=1)
WEB_PAGE = (
    "The link leads to a web page, not to a recording. Use the link of the file itself: on the page, it is often "
    "behind a “Download” button. Or download the file and upload it here."
)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)")


class Stopped(Exception):
    """The caller asked to stop."""


def download(
    url: str,
    *,
    spool: Spool,
    max_bytes: int,
    max_seconds: float,
    should_stop: Callable[[], bool] = lambda: False,
    pauses: Sequence[float] = PAUSES,
    look_up: LookUp | None = None,
) -> None:
    """Fill the spool with the entity at the URL.

    should_stop: asked a few times a second. pauses: as PAUSES. look_up: as in `outbound.call`.
    Raises Stopped, and BadMedia or TooLarge with one of these types: url_not_allowed, url_not_found, url_refused,
    url_unreachable, url_too_large, url_too_slow, not_audio (a web page). Raises VoxsiteError with no_room when the disk
    has no space for the file beside its reserve.
    """
    work = _download(url, spool=spool, max_bytes=max_bytes, max_seconds=max_seconds, pauses=pauses, look_up=look_up)
    try:
        asyncio.run(_unless_stopped(work, should_stop=should_stop))
        spool.flush()
    except DiskFull as error:
        logger.exception("An import was given up after %s bytes: the disk is full.", spool.size)
        raise VoxsiteError(
            "The site has no space for the file at present. Try again later.", error_type="no_room"
        ) from error


async def _unless_stopped(work: Coroutine[None, None, None], *, should_stop: Callable[[], bool]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=STOP_CHECK_SECONDS)
            if not task.done() and should_stop():
                raise Stopped
        task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _download(
    url: str,
    *,
    spool: Spool,
    max_bytes: int,
    max_seconds: float,
    pauses: Sequence[float],
    look_up: LookUp | None,
) -> None:
    clock = asyncio.get_running_loop().time
    ends_at = clock() + max_seconds
    failures, most_bytes = 0, spool.size
    while True:
        limits = Limits(max_bytes=max_bytes, total_seconds=max(0.0, ends_at - clock()))
        try:
            async with outbound.call(url, limits=limits, headers=_conditions(spool), look_up=look_up) as answer:
                await _receive(answer, spool=spool, max_bytes=max_bytes)
            return
        except outbound.AddressRefused as error:
            raise _refusal(str(error), error_type="url_not_allowed") from error
        except outbound.UnknownHost as error:
            raise _refusal(str(error), error_type="url_not_found") from error
        except outbound.TooLarge as error:
            raise _too_large(max_bytes) from error
        except outbound.TooSlow as error:
            raise _too_slow(max_seconds) from error
        except outbound.OutboundError as error:
            failures = 0 if spool.size > most_bytes else failures + 1
            most_bytes = max(most_bytes, spool.size)
            if failures >= len(pauses):
                raise _refusal(str(error), error_type="url_unreachable") from error
            logger.info("A download goes on after %s bytes: %s", spool.size, error)
        if clock() + pauses[failures] >= ends_at:
            raise _too_slow(max_seconds)
        await asyncio.sleep(pauses[failures])


def _conditions(spool: Spool) -> dict[str, str]:
    """Return the headers that ask for what is missing, or for all of it if the entity has changed."""
    return {"Range": f"bytes={spool.size}-", "If-Range": spool.validator} if spool.size and spool.validator else {}


async def _receive(answer: Answer, *, spool: Spool, max_bytes: int) -> None:
    """Add what an answer brings. Raises outbound.Broken if it is not all."""
    total_bytes = _begin(answer, spool=spool)
    if total_bytes is not None and total_bytes > max_bytes:
        raise _too_large(max_bytes)
    spool.require_space(total_bytes or spool.size)
    if total_bytes is None or spool.size < total_bytes:
        head = b"" if spool.size == 0 else None
        async for piece in answer.chunks():
            if head is not None:
                head = _without_web_page(head + piece)
            spool.write(piece)
            if spool.size > max_bytes:
                raise _too_large(max_bytes)
    if total_bytes is not None and spool.size != total_bytes:
        raise outbound.Broken("The connection broke in the middle of the file.")


def _begin(answer: Answer, *, spool: Spool) -> int | None:
    """Make the spool ready for the body of an answer. Returns the size of the whole entity, None if it is not stated.

    Raises BadMedia for an answer without the entity, and outbound.OutboundError if another try may get it.
    """
    status = answer.status
    if status in (206, 416) and spool.size:
        first_byte, total_bytes = _range_of(answer.headers)
        is_whole = status == 416 and total_bytes == spool.size
        if is_whole or (status == 206 and first_byte == spool.size):
            return total_bytes
        spool.restart(validator="")
        raise outbound.Broken("The server answered with another part of the file than was asked for.")
    if status == 200:
        spool.restart(validator=_validator_of(answer.headers))
        length = answer.headers.get("Content-Length", "")
        return int(length) if re.fullmatch(r"\d{1,18}", length) else None
    if status in MISSING_STATUSES:
        raise _refusal(f"There is no file at the URL: its server answered {status}.", error_type="url_not_found")
    if status in PASSING_STATUSES:
        raise outbound.Unreachable(f"The server answered {status}.")
    raise _refusal(f"The server refused to send the file: it answered {status}.", error_type="url_refused")


def _without_web_page(head: bytes) -> bytes | None:
    """Return the first bytes of an entity, or None when there are enough of them.

    Raises BadMedia for a web page: most of the links that people copy from an address bar lead to one.
    """
    if containers.is_web_page(head):
        raise _refusal(WEB_PAGE, error_type="not_audio")
    return head if len(head) < containers.HEAD_BYTES else None


def _range_of(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Return (first byte, size of the whole entity) of a part, None for what is not stated."""
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if found is None:
        return None, None
    first_byte, total_bytes = found.groups()
    return int(first_byte) if first_byte else None, int(total_bytes) if total_bytes != "*" else None


def _validator_of(headers: Mapping[str, str]) -> str:
    """Return what If-Range may name: a strong ETag or a strong date, "" if there is neither (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag", "")
    if etag.startswith('"') and etag.isprintable() and etag.isascii():
        return etag
    modified, sent = headers.get("Last-Modified", ""), headers.get("Date", "")
    try:
        is_strong = parsedate_to_datetime(sent) - parsedate_to_datetime(modified) >= STRONG_DATE_AGE
    except (TypeError, ValueError):
        return ""
    return modified if is_strong else ""


def _refusal(message: str, *, error_type: str) -> VoxsiteError:
    return BadMedia(message, error_type=error_type, param="url")


def _too_large(max_bytes: int) -> VoxsiteError:
    message = f"The file is larger than {max_bytes / 1024**3:g} GiB."
    return TooLarge(message, error_type="url_too_large", param="url")


def _too_slow(max_seconds: float) -> VoxsiteError:
    return _refusal(f"The file did not come within {max_seconds / 60:g} minutes.", error_type="url_too_slow")
