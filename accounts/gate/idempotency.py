"""Idempotency keys: a request that is sent twice with the same Idempotency-Key runs once.

Responses are stored for a day, in the database and not in Redis, because losing one can cost money. Only successful
responses are stored. After an error nothing was done, so the same key may be used again, for example after a top-up.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.errors import Conflict, InvalidField
from accounts.models import ApiKey, IdempotencyRecord, Organization

HEADER = "Idempotency-Key"
# Stands in a response that is the answer to an earlier request with the same key.
REPLAYED_HEADER = "Idempotency-Replayed"
MAX_KEY_LENGTH = 255
# No request runs this long: probing ends after a minute, and the body was read before.
ABANDONED_AFTER = timedelta(minutes=5)

# What the site names its records by, and their shape: a word, and parts, the last of them a UUID or a digest. `own_key`
# refuses every other name, because only what has this shape is kept from callers.
OWN_WORDS = ("form", "key", "playground", "rewrite", "token", "transcript", "tries")
_OWN_KEY = re.compile(
    rf"(?:{'|'.join(OWN_WORDS)}):(?:[0-9a-f-]*:)*(?:[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}|[0-9a-f]{{64}})"
)

# Stores the response: (HTTP status, JSON body).
Keep = Callable[[int, Any], None]


class TakenOver(Conflict):
    """Another attempt has the key of this one, which seemed abandoned. The client gets the answer of the other one."""

    def __init__(self) -> None:
        super().__init__(
            "Another request with this Idempotency-Key has taken over. Send it again for its answer.",
            error_type="idempotency_key_in_use",
        )


class OwnKey(str):
    """A name that the site has made for a record of its own. No caller's Idempotency-Key is stored under it."""

    __slots__ = ()


def own_key(word: str, *parts: object) -> OwnKey:
    """Return a name for a record of the site's own, such as `rewrite:<id of the job>`. word: one of OWN_WORDS."""
    name = ":".join([word, *map(str, parts)])
    assert _OWN_KEY.fullmatch(name), "a caller could send any other name"
    return OwnKey(name)


def key_of(api_key: ApiKey | None, key: str) -> str:
    """Return the name under which the answer to a caller's Idempotency-Key is stored; "" for none.

    All keys and pages of an organization share theirs. Each token has its own: a visitor with another token, or with
    the key that the site's server uses, gets no answer of somebody else, does not learn that there is one, and keeps no
    key from anybody. Nobody shares those of the site itself: an `OwnKey` keeps its name, and a caller's key that looks
    like one gets another.
    Raises InvalidField for one that cannot be used.
    """
    _check(key)
    if not isinstance(key, OwnKey) and _OWN_KEY.fullmatch(key):
        key = own_key("key", _digest(key))
    if not key or api_key is None or not api_key.is_token:
        return key
    # As a digest, for which there is always room.
    return own_key("token", api_key.pk, _digest(key))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def fingerprint(path: str, *, data: Mapping[str, Any]) -> str:
    """Return the digest of a request: of its path, its fields and the content of its files."""
    digest = hashlib.sha256(path.encode())
    for name in sorted(data):
        values = data.getlist(name) if hasattr(data, "getlist") else [data[name]]
        for value in values:
            part = f"file:{digest_of_file(value)}" if isinstance(value, UploadedFile) else f"text:{value!r}"
            # Half a character, which a JSON body may have in a name, is no text to UTF-8.
            digest.update(f"\0{name}\0{part}".encode(errors="surrogatepass"))
    return digest.hexdigest()


def digest_of_file(file: "UploadedFile[Any]") -> str:
    """Return the SHA-256 of the content of a file, in hexadecimal. It can be read from its beginning afterwards."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run the request of a key. Its owner stores a response, or frees the key."""

    organization: Organization
    key: str
    # Identifies this attempt. One that was abandoned and taken over can neither store a response nor free the key.
    began_at: datetime

    def keep(self, status: int, body: Any) -> None:
        """Store the response. Raises TakenOver if another attempt has the key."""
        if not self._ours().update(response_status=status, response_body=body):
            raise TakenOver

    def begin(self, reference: str) -> None:
        """Record what the request has started, if its response comes later.

        Raises TakenOver if another attempt has the key.

        reference: names the business fact, such as "job:<uuid>". Call this inside the transaction that starts it. From
        then on the key never counts as abandoned: a retry gets `Pending`, and `complete` stores the response.
        """
        if not self._ours().update(reference=reference):
            raise TakenOver

    def forget(self) -> None:
        """Free the key, unless something was started, a response is stored or another attempt took over."""
        self._ours().filter(reference="").delete()

    def _ours(self) -> "QuerySet[IdempotencyRecord]":
        return IdempotencyRecord.objects.filter(
            organization=self.organization, key=self.key, created_at=self.began_at, response_status__isnull=True
        )


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The stored response to an earlier request with the same key."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Pending:
    """What an earlier request with this key has started and not finished. reference: as in `Claim.begin`."""

    reference: str


def claim(
    organization: Organization,
    *,
    key: str,
    request_fingerprint: str,
    abandoned_after: timedelta = ABANDONED_AFTER,
) -> Claim | StoredResponse | Pending:
    """Claim the key for a request. If it was used before, return the stored response, or what is still pending.

    abandoned_after: the age at which an attempt without a response counts as abandoned.
    Raises Conflict if the key was used for another request, or if the first request still runs.
    """
    _check(key)
    began_at = timezone.now()
    # First a look: an INSERT that fails leaves a dead row, and an error in PostgreSQL's log.
    record = _record(organization, key=key)
    if record is None:
        try:
            with transaction.atomic():
                IdempotencyRecord.objects.create(
                    organization=organization, key=key, fingerprint=request_fingerprint, created_at=began_at
                )
        except IntegrityError:
            record = _record(organization, key=key)
            if record is None:
                raise _in_use() from None
        else:
            return Claim(organization, key, began_at)
    earlier = _earlier(record, request_fingerprint=request_fingerprint, now=began_at, abandoned_after=abandoned_after)
    return earlier or Claim(organization, key, began_at)


def running(keys: Iterable[tuple[uuid.UUID, str]], *, now: datetime) -> set[tuple[uuid.UUID, str]]:
    """Return those keys whose request still runs: it has neither an answer nor begun anything, nor is it abandoned.

    keys: (id of the organization, key).
    """
    asked = set(keys)
    records = IdempotencyRecord.objects.filter(
        organization__in={organization_id for organization_id, _ in asked},
        key__in={key for _, key in asked},
        response_status__isnull=True,
        reference="",
        created_at__gte=now - ABANDONED_AFTER,
    )
    return set(records.values_list("organization", "key")) & asked


def once(
    organization: Organization, *, key: str, request_fingerprint: str, act: Callable[[Keep], tuple[int, Any]]
) -> tuple[int, Any, bool]:
    """Run a request and store its response, or return the stored response.

    act: does the work and returns (HTTP status, JSON body). It gets a function that stores the response, and calls it
        inside the transaction that does the work. So a record without a response proves that nothing was done: after
        a crash its key is free again in `ABANDONED_AFTER`.
    Returns (status, body, was it replayed): of a request that was so slow that another one took over, the answer of
    that one. Raises Conflict if the key was used for another request, or if an earlier request still runs.
    """
    ours = claim(organization, key=key, request_fingerprint=request_fingerprint)
    if isinstance(ours, StoredResponse):
        return ours.status, ours.body, True
    if isinstance(ours, Pending):
        raise _in_use()
    try:
        status, body = act(ours.keep)
    except TakenOver:
        # What was done is undone. The client of a slow request is the one that has sent it again.
        record = _record(organization, key=key)
        if record is None or record.fingerprint != request_fingerprint or record.response_status is None:
            raise
        return record.response_status, record.response_body, True
    except BaseException:
        ours.forget()
        raise
    if status >= 300:
        ours.forget()
    return status, body, False


def complete(organization: Organization, *, key: str, reference: str, status: int, body: Any) -> bool:
    """Store the response of what a request with this key has started. Returns False if one is stored already.

    Every process that knows how the work ended may call this. The first response stays.
    """
    begun = IdempotencyRecord.objects.filter(
        organization=organization, key=key, reference=reference, response_status__isnull=True
    )
    return bool(begun.update(response_status=status, response_body=body))


def release(organization: Organization, *, key: str, reference: str) -> None:
    """Free a key whose request has started something that ended without an answer to keep, such as a failed job."""
    IdempotencyRecord.objects.filter(
        organization=organization, key=key, reference=reference, response_status__isnull=True
    ).delete()


def discard(organization: Organization, *, key: str) -> None:
    """Free a key, whatever it was used for: its next request repeats none. An attempt that runs keeps nothing then."""
    IdempotencyRecord.objects.filter(organization=organization, key=key).delete()


def forget(organization: Organization, *, key: str) -> None:
    """Delete the stored response of a key, because it is stored elsewhere now."""
    IdempotencyRecord.objects.filter(organization=organization, key=key, response_status__isnull=False).delete()


def purge() -> int:
    """Delete records that are older than a day. Returns their number."""
    deleted, _ = IdempotencyRecord.objects.filter(
        created_at__lt=timezone.now() - timedelta(hours=settings.IDEMPOTENCY_HOURS)
    ).delete()
    return deleted


def _check(key: str) -> None:
    if not key.isprintable() or len(key) > MAX_KEY_LENGTH:
        raise InvalidField(HEADER, f"{HEADER} must be at most {MAX_KEY_LENGTH} printable characters.")


def _record(organization: Organization, *, key: str) -> IdempotencyRecord | None:
    return IdempotencyRecord.objects.filter(organization=organization, key=key).first()


def _earlier(
    record: IdempotencyRecord, *, request_fingerprint: str, now: datetime, abandoned_after: timedelta
) -> StoredResponse | Pending | None:
    """Return the result of an earlier attempt. None: it was abandoned, and this one took over. Raises Conflict."""
    if record.fingerprint != request_fingerprint:
        raise Conflict("This Idempotency-Key was used for another request.", error_type="idempotency_key_reused")
    if record.response_status is not None:
        return StoredResponse(record.response_status, record.response_body)
    if record.reference:
        return Pending(record.reference)
    if record.created_at >= now - abandoned_after:
        raise _in_use()
    abandoned = IdempotencyRecord.objects.filter(
        pk=record.pk, response_status__isnull=True, reference="", created_at__lt=now - abandoned_after
    )
    if not abandoned.update(created_at=now):
        raise _in_use()
    return None


def _in_use() -> Conflict:
    return Conflict("A request with this Idempotency-Key is still running.", error_type="idempotency_key_in_use")
