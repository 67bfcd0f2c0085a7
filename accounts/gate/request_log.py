"""The log of API requests that customers read: what their programs asked, and what was answered.

Only requests with a key that the site knows are logged, also a revoked or expired one: the key says whose they are. The
request itself writes nothing. It leaves a few values in memory, and a thread of the process inserts many rows together
every second. So a process that ends loses the last second, and while the database is away nothing is logged.
"""

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import DatabaseError, InterfaceError, OperationalError
from django.db.models import Q

from accounts import api_keys, database_connection
from accounts.models import ApiKey, ApiRequest, ApiRequestQuerySet, Organization

logger = logging.getLogger(__name__)

KEPT = timedelta(days=30)
FLUSH_SECONDS = 1.0
# What waits for the thread: some megabytes. What comes when it is full is not logged.
MAX_WAITING = 10_000
# Beside these, of keys of which no request was written lately. Anybody can make up keys of the right form, and what is
# sent with them must not take the places of customers. They share this room with a customer's first second only.
MAX_WAITING_UNKNOWN = 2_000
# Digests that are remembered: those of keys that exist, and those that were counted in this minute.
MAX_DIGESTS = 20_000
# Of one key in one process, successful requests and others counted apart: who polls all day must not fill the table,
# nor push out of it what failed.
MAX_PER_MINUTE = 300
INSERT_BATCH_SIZE = 500
# After so many rows that the database refuses, the fault is not theirs, and the others are given up too.
MAX_REFUSED_ROWS = 20
DELETE_BATCH_SIZE = 2000
PURGE_SECONDS = 20.0
# A search for a path or an error looks at so many of the newest requests. Ids are found among all.
SEARCHED_ROWS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """What is kept of a request. key: as it was sent, which the log forgets at once. path: without the query."""

    key: str
    created_at: datetime
    method: str
    path: str
    status: int
    request_id: str
    duration_ms: int
    error_type: str = ""
    job_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which requests are looked for. text: a request id, a job id, a status, an error's type, or how a path begins."""

    key_id: uuid.UUID | None = None
    is_error: bool | None = None
    text: str = ""


class RequestLog:
    """The requests of one process that wait to be written. `add` is called by any thread and never waits."""

    def __init__(
        self,
        *,
        store: Callable[[Sequence[tuple[str, LoggedRequest]]], list[str]] | None = None,
        max_waiting: int = MAX_WAITING,
        max_waiting_unknown: int = MAX_WAITING_UNKNOWN,
        max_digests: int = MAX_DIGESTS,
        max_per_minute: int = MAX_PER_MINUTE,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store or write
        self._max_waiting, self._max_waiting_unknown = max_waiting, max_waiting_unknown
        self._max_per_minute, self._max_digests, self._seconds = max_per_minute, max_digests, seconds
        self._lock = threading.Lock()
        # Pairs of (digest of the key, request without its key): no key lies here.
        self._waiting: list[tuple[str, LoggedRequest]] = []
        self._unknown_count = 0
        # Digests of keys that exist, as far as rows were written.
        self._known: set[str] = set()
        self._counts: Counter[tuple[str, bool]] = Counter()
        self._minute = 0
        self._thread: threading.Thread | None = None

    def add(self, request: LoggedRequest) -> None:
        """Log a request soon. One without a key that may be ours, or beyond the limits, is not logged."""
        if not api_keys.is_well_formed(request.key):
            return
        digest = api_keys.digest(request.key)
        minute = int(self._seconds() // 60)
        with self._lock:
            if minute != self._minute or len(self._counts) >= self._max_digests:
                self._counts.clear()
                self._minute = minute
            counted = (digest, request.status >= 400)
            is_known = digest in self._known
            is_full = (
                len(self._waiting) - self._unknown_count >= self._max_waiting
                if is_known
                else self._unknown_count >= self._max_waiting_unknown
            )
            if is_full or self._counts[counted] >= self._max_per_minute:
                return
            self._counts[counted] += 1
            self._unknown_count += not is_known
            self._waiting.append((digest, _kept(request)))

    def start(self) -> None:
        """Write what waits, every second, until the process ends."""
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def flush(self) -> int:
        """Write what waits. Returns how many rows that were. If the database does not answer, they are lost."""
        with self._lock:
            waiting, self._waiting, self._unknown_count = self._waiting, [], 0
        # The next batch is the last one.
        batches = [waiting[first : first + INSERT_BATCH_SIZE] for first in range(0, len(waiting), INSERT_BATCH_SIZE)]
        batches.reverse()
        written = refused_count = 0
        while batches:
            batch = batches.pop()
            try:
                digests = self._store(batch)
            # A text that cannot be encoded is a ValueError.
            except (DatabaseError, InterfaceError, ValueError) as error:
                is_away = isinstance(error, OperationalError | InterfaceError)
                if is_away or refused_count >= MAX_REFUSED_ROWS:
                    missing_count = len(batch) + sum(map(len, batches))
                    logger.warning("%s requests are missing in the log of requests.", missing_count, exc_info=True)
                    break
                if len(batch) > 1:
                    # One row, or an organization that has just been deleted, must not take the others along.
                    middle = len(batch) // 2
                    batches += [batch[middle:], batch[:middle]]
                    continue
                refused_count += 1
                refused = batch[0][1].request_id
                logger.warning("Request %s cannot be written into the log of requests.", refused, exc_info=True)
            else:
                written += len(digests)
                self._note_known(digests)
        return written

    def _note_known(self, digests: Sequence[str]) -> None:
        with self._lock:
            if len(self._known) >= self._max_digests:
                self._known.clear()
            self._known.update(digests)

    def _run(self) -> None:
        while True:
            time.sleep(FLUSH_SECONDS)
            try:
                self.flush()
            except Exception:  # The thread must outlive whatever it was.
                logger.exception("Requests are missing in the log of requests.")
            finally:
                database_connection.release()


def write(requests: Sequence[tuple[str, LoggedRequest]]) -> list[str]:
    """Insert requests whose key is known. Returns the digest of each one's key.

    requests: pairs of (digest of the key, request), whose texts fit into their columns.
    """
    keys = _keys_of({digest for digest, _ in requests})
    rows = [
        ApiRequest(
            organization_id=key.organization_id,
            created_at=each.created_at,
            key_id=key.charged_key_id,
            token_id=key.pk if key.is_token else None,
            job_id=_uuid_or_none(each.job_id),
            method=each.method,
            path=each.path,
            status=each.status,
            error_type=each.error_type,
            request_id=each.request_id,
            duration_ms=each.duration_ms,
        )
        for digest, each in requests
        if (key := keys.get(digest)) is not None
    ]
    ApiRequest.objects.bulk_create(rows)
    return [digest for digest, _ in requests if digest in keys]


def find(organization: Organization, *, only: Filter, before: int | None = None, limit: int) -> list[ApiRequest]:
    """Return requests of an organization, the newest first. before: the id of the last one of the page before.

    Requests of several processes are written a second later, so neighbors may be out of order by that.
    """
    rows = ApiRequest.objects.of(organization)
    found = rows.filter(pk__lt=before) if before else rows
    if only.key_id is not None:
        found = found.filter(key_id=only.key_id)
    if only.is_error is not None:
        found = found.filter(status__gte=400) if only.is_error else found.filter(status__lt=400)
    if only.text:
        found = _matching(found, only.text, rows=rows)
    return list(found.order_by("-pk")[:limit])


def of_job(organization: Organization, *, job_id: uuid.UUID) -> ApiRequest | None:
    """Return the request that ordered a job, while it is in the log."""
    return (
        ApiRequest.objects.of(organization).filter(job_id=job_id, method="POST", status__lt=400).order_by("pk").first()
    )


def purge(*, now: datetime, seconds: float = PURGE_SECONDS) -> int:
    """Delete requests that are too old, for so long. Returns how many."""
    old = ApiRequest.objects.filter(created_at__lt=now - KEPT)
    return _delete(old, ends_at=time.monotonic() + seconds)


def delete_of(organization: Organization, *, ends_at: float) -> bool:
    """Delete all requests of an organization. ends_at: by `time.monotonic`. Returns whether none is left."""
    rows = ApiRequest.objects.of(organization)
    _delete(rows, ends_at=ends_at)
    return not rows.exists()


def _delete(rows: ApiRequestQuerySet, *, ends_at: float) -> int:
    deleted = 0
    # A batch at least, or nothing would ever be deleted when the time is short.
    while ids := list(rows.values_list("pk", flat=True)[:DELETE_BATCH_SIZE]):
        deleted += ApiRequest.objects.filter(pk__in=ids).delete()[0]
        if time.monotonic() >= ends_at:
            break
    return deleted


def _matching(found: ApiRequestQuerySet, text: str, *, rows: ApiRequestQuerySet) -> ApiRequestQuerySet:
    """Return those that a text names. rows: all of the organization."""
    as_uuid = _uuid_or_none(text)
    if as_uuid is not None:
        return found.filter(Q(job_id=as_uuid) | Q(request_id=text))
    newest = rows.order_by("-pk").values_list("pk", flat=True)
    oldest_searched = newest[SEARCHED_ROWS - 1 : SEARCHED_ROWS].first()
    recent = found.filter(pk__gte=oldest_searched) if oldest_searched is not None else found
    if text.startswith("/"):
        return recent.filter(path__startswith=text)
    if len(text) == 3 and text.isascii() and text.isdecimal():
        return recent.filter(status=int(text))
    by_error = recent.filter(error_type=text)
    return by_error if by_error.exists() else found.filter(request_id=text)


def _keys_of(digests: set[str]) -> dict[str, ApiKey]:
    """Return the keys with these digests, by digest. Those of organizations that are closed are nobody's."""
    rows = ApiKey.objects.filter(Q(sha256__in=digests) | Q(previous_sha256__in=digests))
    found: dict[str, ApiKey] = {}
    for key in rows.filter(organization__closed_at__isnull=True):
        found |= {digest: key for digest in (key.sha256, key.previous_sha256) if digest in digests}
    return found


def _kept(request: LoggedRequest) -> LoggedRequest:
    """Return a request without its key, its texts as columns take them: a path may be 64 KB, with anything in it."""
    return replace(
        request,
        key="",
        method=_storable(request.method, max_length=10),
        path=_storable(request.path, max_length=200),
        error_type=_storable(request.error_type, max_length=64),
        request_id=_storable(request.request_id, max_length=128),
    )


def _storable(text: str, *, max_length: int) -> str:
    """Return the beginning of a text. PostgreSQL takes no NUL, and no database takes half of a surrogate pair."""
    return text[:max_length].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _uuid_or_none(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None
