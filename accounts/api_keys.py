"""API keys: issue, find, revoke. A key is `vxp_live_`, 32 random base-62 characters and 6 characters of checksum.

A token (`tokens`) begins with `vxp_temp_`. What a key loses, its tokens lose in the same transaction.

The checksum is the CRC-32 of the random part in base 62, as in GitHub's tokens. With it a secret scanner can recognize
a leaked key without asking us, and we can refuse a mistyped key without a query.
"""

import hashlib
import secrets
import uuid
import zlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.utils import timezone

from accounts import audit_log
from accounts.errors import Conflict, InvalidField, NotFound
from accounts.models import DEFAULT_SCOPES, ApiKey, ApiKeyQuerySet, AuditAction, Organization, Scope, User

PREFIX = "vxp_live_"
# As long as the other one. A scanner that finds a token need not wake anybody.
TOKEN_PREFIX = "vxp_temp_"  # noqa: S105  # how tokens begin, and no token
RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# `last_used_at` is for people, so one write a minute is enough. One for each request would make a hot row.
LAST_USED_STEP = timedelta(minutes=1)
MAX_OVERLAP = timedelta(days=7)
MAX_RAISE = timedelta(days=366)
MAX_LIFETIME = timedelta(days=36_500)


class Keep(Enum):
    """Stands for a fact that stays as it is, where None means that there is none."""

    KEEP = "keep"


KEEP = Keep.KEEP


def generate(prefix: str = PREFIX) -> str:
    """Return a new random key, or with TOKEN_PREFIX a token."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return f"{prefix}{body}{_checksum(body)}"


def is_well_formed(key: str) -> bool:
    """Tell whether the text has the form of a key or token: prefix, length, alphabet and checksum."""
    body, checksum = key[len(PREFIX) : -CHECKSUM_LENGTH], key[-CHECKSUM_LENGTH:]
    return (
        key.startswith((PREFIX, TOKEN_PREFIX))
        and len(body) == RANDOM_LENGTH
        and key.isascii()
        and _checksum(body) == checksum
    )


def issue(
    organization: Organization,
    *,
    name: str,
    by: User | None,
    expires_at: datetime | None = None,
    monthly_limit_micros: int | None = None,
    scopes: Iterable[str] = DEFAULT_SCOPES,
) -> tuple[ApiKey, str]:
    """Create a key. Returns the row and the key itself, which is not stored and so cannot be shown again.

    scopes: names of Scope, one or more.
    Raises InvalidField for an empty name, a past expiry, a negative limit or a wrong scope, and Conflict if the
    organization has the maximum number of live keys.
    """
    name = checked_name(name)
    now = timezone.now()
    text = scopes_text(scopes)
    _check_expiry(expires_at)
    _check_limit(monthly_limit_micros)
    key = generate()
    with transaction.atomic():
        # The lock on the organization makes count and insert atomic. It lets others insert rows that refer to it.
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        if ApiKey.objects.of(organization).live(now=now).count() >= settings.MAX_LIVE_API_KEYS:
            raise Conflict(f"An organization can have {settings.MAX_LIVE_API_KEYS} live keys. Revoke one first.")
        row = ApiKey.objects.create(
            organization=organization,
            name=name,
            prefix=shown_prefix(key),
            sha256=digest(key),
            created_by=by,
            expires_at=expires_at,
            monthly_limit_micros=monthly_limit_micros,
            scopes=text,
        )
        audit_log.record(organization, AuditAction.KEY_CREATED, f"{name} ({row.prefix}…), scopes: {text}")
    return row, key


def find(key: str) -> ApiKey | None:
    """Return the live key or token with its organization, or None. Updates `last_used_at`.

    No key of a closed organization is live.
    """
    if not is_well_formed(key):
        return None
    sha256 = digest(key)
    row = _stored(sha256) or _rotated(sha256)
    now = timezone.now()
    if row is None or not row.is_live(now=now) or row.organization.is_closed:
        return None
    if row.last_used_at is None or row.last_used_at < now - LAST_USED_STEP:
        _note_use(row, now=now)
    return row


def made_by(organization: Organization, *, person: User) -> ApiKeyQuerySet:
    """Return the live keys of an organization that a person made, also by a key of theirs, in order."""
    live = ApiKey.objects.of(organization).live(now=timezone.now())
    return live.filter(created_by=person).order_by("created_at", "pk")


def of_organization(organization: Organization, *, key_id: uuid.UUID | str) -> ApiKey:
    """Return a key. Raises NotFound for another organization's key, and for a token."""
    row = ApiKey.objects.of(organization).select_related("created_by").filter(pk=key_id).first()
    if row is None:
        raise NotFound("There is no such key.")
    return row


def change(
    row: ApiKey,
    *,
    name: str | None = None,
    scopes: Iterable[str] | None = None,
    expires_at: datetime | Keep | None = KEEP,
) -> None:
    """Change the given facts of a key; the others stay. Raises InvalidField, as `issue`.

    Its tokens lose what it loses; what it gains, they do not.
    """
    changed = []
    before = (row.name, row.scopes, row.expires_at)
    if name is not None:
        row.name = checked_name(name)
        changed.append("name")
    if scopes is not None:
        row.scopes = scopes_text(scopes)
        changed.append("scopes")
    if not isinstance(expires_at, Keep):
        _check_expiry(expires_at)
        row.expires_at = expires_at
        changed.append("expires_at")
    # The others as they are in the database: somebody may have changed them since the row was read.
    with transaction.atomic():
        row.save(update_fields=changed)
        if "scopes" in changed:
            _narrow_tokens(row)
        if "expires_at" in changed and row.expires_at is not None:
            _end_tokens(ApiKey.objects.tokens_of(row), at=row.expires_at)
        told = audit_log.changes(
            name=(before[0], row.name), scopes=(before[1], row.scopes), expiry=(before[2], row.expires_at)
        )
        if told:
            audit_log.record(row.organization, AuditAction.KEY_CHANGED, f"{before[0]}: {told}")


def rotate(row: ApiKey, *, overlap: timedelta, by: User | None) -> str:
    """Give a key a new secret and return it; it cannot be shown again.

    overlap: how long the old secret works beside it, at most MAX_OVERLAP; zero ends it at once. One that is older still
    ends in any case. by: who knows the new secret from now on, None to leave it as it is.
    The tokens of the key end with the old secret: who has that may have made them.
    Raises InvalidField for another overlap, and Conflict for a key that no longer works.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise InvalidField("overlap_seconds", f"The overlap is 0 to {MAX_OVERLAP // timedelta(seconds=1)} seconds.")
    key = generate()
    with transaction.atomic():
        row = ApiKey.objects.select_for_update().get(pk=row.pk)
        now = timezone.now()
        if not row.is_live(now=now):
            raise Conflict("This key is revoked or expired. Create a new one.")
        has_older = row.previous_until is not None and row.previous_until > now
        row.previous_sha256, row.previous_until = (row.sha256, now + overlap) if overlap else (None, None)
        row.sha256, row.prefix = digest(key), shown_prefix(key)
        row.created_by = by or row.created_by
        row.save(update_fields=["previous_sha256", "previous_until", "sha256", "prefix", "created_by"])
        _end_tokens(ApiKey.objects.tokens_of(row), at=now if has_older or not overlap else now + overlap)
        audit_log.record(row.organization, AuditAction.KEY_ROTATED, f"{row.name} ({row.prefix}…)")
    return key


def set_monthly_limit(organization: Organization, *, key_id: uuid.UUID | str, limit_micros: int | None) -> ApiKey:
    """Set what a key may spend in a calendar month (UTC): 0 blocks all spending, None removes the limit.

    `billing` enforces it. A temporary raise ends.

    Raises NotFound for another organization's key, and InvalidField for a negative limit.
    """
    _check_limit(limit_micros)
    row = of_organization(organization, key_id=key_id)
    row.raised_limit_micros = row.raised_until = None
    before, row.monthly_limit_micros = row.monthly_limit_micros, limit_micros
    with transaction.atomic():
        row.save(update_fields=["monthly_limit_micros", "raised_limit_micros", "raised_until"])
        if before != limit_micros:
            told = f"{row.name}: {audit_log.dollars(before)} → {audit_log.dollars(limit_micros)} a month"
            audit_log.record(organization, AuditAction.KEY_LIMITED, told)
    return row


def raise_limit(row: ApiKey, *, limit_micros: int, until: datetime) -> None:
    """Raise the monthly limit of a key until a moment. It ends by itself. Raises InvalidField."""
    check_raise(row.monthly_limit_micros, limit_micros=limit_micros, until=until)
    row.raised_limit_micros, row.raised_until = limit_micros, until
    with transaction.atomic():
        row.save(update_fields=["raised_limit_micros", "raised_until"])
        told = f"{row.name}: {audit_log.dollars(limit_micros)} a month until {until:%Y-%m-%d %H:%M} UTC"
        audit_log.record(row.organization, AuditAction.KEY_LIMITED, told)


def check_raise(monthly_limit_micros: int | None, *, limit_micros: int, until: datetime) -> None:
    """Raise InvalidField unless a limit can be raised to an amount until a moment."""
    if monthly_limit_micros is None:
        raise InvalidField("temporary_raise", "There is no monthly limit to raise.")
    if limit_micros < monthly_limit_micros:
        raise InvalidField("temporary_raise", "The raised limit must not be lower than the monthly limit.")
    now = timezone.now()
    if not now < until <= now + MAX_RAISE:
        raise InvalidField("temporary_raise", f"A raise ends in the future, and within {MAX_RAISE.days} days.")


def set_scopes(organization: Organization, *, key_id: uuid.UUID | str, scopes: Iterable[str]) -> ApiKey:
    """Replace the scopes of a key. Its next request has the new ones.

    Raises NotFound for another organization's key, and InvalidField for a wrong scope or none.
    """
    row = of_organization(organization, key_id=key_id)
    change(row, scopes=scopes)
    return row


def revoke(organization: Organization, *, key_id: uuid.UUID | str) -> ApiKey:
    """Revoke a key and its tokens immediately and permanently. Raises NotFound for another organization's key."""
    row = of_organization(organization, key_id=key_id)
    with transaction.atomic():
        # The key first: a token that is being made holds its lock, and is seen by the next statement.
        if ApiKey.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
            audit_log.record(organization, AuditAction.KEY_REVOKED, f"{row.name} ({row.prefix}…)")
        _end_tokens(ApiKey.objects.tokens_of(row), at=timezone.now())
    row.refresh_from_db()
    return row


def _stored(sha256: str) -> ApiKey | None:
    """Return the key with this digest, and its organization.

    Every API request begins here, and building the SQL took twice as long as running it. So Django builds it once, and
    its own converters are applied to the row.
    """
    sql, columns, converters = _statement()
    with connection.cursor() as cursor:
        cursor.execute(sql, [sha256])
        found = cursor.fetchone()
    if found is None:
        return None
    values = list(found)
    for position, (steps, column) in converters.items():
        for step in steps:
            values[position] = step(values[position], column, connection)
    own = len(ApiKey._meta.concrete_fields)
    row = ApiKey.from_db(DEFAULT_DB_ALIAS, columns[:own], values[:own])
    row.organization = Organization.from_db(DEFAULT_DB_ALIAS, columns[own:], values[own:])
    return row


@cache
def _statement() -> tuple[str, list[str], dict[int, Any]]:
    """Return the SQL, the names of its columns (of the key, then of its organization) and the converters."""
    query = ApiKey.objects.select_related("organization").filter(sha256="").query
    compiler = query.get_compiler(DEFAULT_DB_ALIAS)
    sql, _ = compiler.as_sql()
    columns = [column for column, _, _ in compiler.select]
    return sql, [column.target.attname for column in columns], compiler.get_converters(columns)


def _note_use(row: ApiKey, *, now: datetime) -> None:
    """Write when the key was used last, unless somebody changes the key now.

    This does not wait for the lock on the key. A change of a key can wait for a wallet, and the requests of all
    organizations would wait too.
    """
    with transaction.atomic():
        free = ApiKey.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=row.pk)
        ApiKey.objects.filter(pk__in=[key.pk for key in free.only("pk")]).update(last_used_at=now)


def end_overlaps(organization: Organization) -> None:
    """End what is left of the old secrets of rotated keys, and the tokens that they may have made."""
    rotated = ApiKey.objects.of(organization).filter(previous_sha256__isnull=False)
    with transaction.atomic():
        names = dict(rotated.select_for_update().order_by("pk").values_list("pk", "name"))
        ids = list(names)
        for name in names.values():
            audit_log.record(organization, AuditAction.KEY_CHANGED, f"{name}: its old secret ended")
        ApiKey.objects.filter(pk__in=ids).update(previous_sha256=None, previous_until=None)
        _end_tokens(ApiKey.objects.filter(parent__in=ids), at=timezone.now())


def _narrow_tokens(row: ApiKey) -> None:
    """Take from the tokens of a key the scopes that it does not have. One that has none left is revoked."""
    now = timezone.now()
    for token in ApiKey.objects.tokens_of(row).live(now=now).exclude(scopes=row.scopes):
        if kept := token.scope_set & row.scope_set:
            ApiKey.objects.filter(pk=token.pk).update(scopes=scopes_text(kept))
        else:
            _end_tokens(ApiKey.objects.filter(pk=token.pk), at=now)


def _end_tokens(rows: ApiKeyQuerySet, *, at: datetime) -> None:
    """Let tokens end at a moment, or before if they would."""
    now = timezone.now()
    living = rows.live(now=now)
    if at <= now:
        living.update(revoked_at=now)
    else:
        living.filter(expires_at__gt=at).update(expires_at=at)


def _rotated(sha256: str) -> ApiKey | None:
    """Return the key whose secret this was before its rotation, while their overlap lasts.

    A query of its own, so that it costs only requests of which no key is found.
    """
    row = (
        ApiKey.objects.select_related("organization")
        .filter(previous_sha256=sha256, previous_until__gt=timezone.now())
        .first()
    )
    if row is not None:
        row.is_by_previous_secret = True
    return row


def checked_name(name: str) -> str:
    """Return a name without blanks around it. Raises InvalidField for a wrong one."""
    name = name.strip()
    if not name or len(name) > 80 or not name.isprintable():
        raise InvalidField("name", "A key needs a name of 1 to 80 characters, on one line.")
    return name


def _check_expiry(expires_at: datetime | None) -> None:
    now = timezone.now()
    if expires_at is not None and not now < expires_at < now + MAX_LIFETIME:
        raise InvalidField("expires_at", "The expiry must be in the future, and within 100 years.")


def _check_limit(micros: int | None) -> None:
    if micros is not None and micros < 0:
        raise InvalidField("monthly_limit", "The monthly limit must not be negative.")


def scopes_text(scopes: Iterable[str]) -> str:
    """Return scopes as they are stored, each once and in one order. Raises InvalidField for an unknown one or none."""
    wanted = set(scopes)
    if not wanted or not wanted <= set(Scope):
        raise InvalidField("scopes", f"A key needs one or more scopes of: {', '.join(Scope)}.")
    return " ".join(scope for scope in Scope if scope in wanted)


def shown_prefix(key: str) -> str:
    """Return the first characters of a key, by which people recognize it."""
    return key[: len(PREFIX) + 4]


def digest(key: str) -> str:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
