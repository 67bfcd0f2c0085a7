"""API keys: issue, find, revoke. A key is `vxp_live_`, 32 random base-62 characters and 6 characters of checksum.

The checksum is the CRC-32 of the random part in base 62, as in GitHub's tokens. With it a secret scanner can recognize
a leaked key without asking us, and we can refuse a mistyped key without a query.
"""

import hashlib
import secrets
import uuid
import zlib
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.utils import timezone

from accounts.errors import Conflict, InvalidField, NotFound
from accounts.models import ApiKey, Organization, User

PREFIX = "vxp_live_"
RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# `last_used_at` is for people, so one write a minute is enough. One for each request would make a hot row.
LAST_USED_STEP = timedelta(minutes=1)


def generate() -> str:
    """Return a new random key."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return f"{PREFIX}{body}{_checksum(body)}"


def is_well_formed(key: str) -> bool:
    """Tell whether the text has the form of a key: prefix, length, alphabet and checksum."""
    body, checksum = key[len(PREFIX) : -CHECKSUM_LENGTH], key[-CHECKSUM_LENGTH:]
    return key.startswith(PREFIX) and len(body) == RANDOM_LENGTH and key.isascii() and _checksum(body) == checksum


def issue(
    organization: Organization,
    *,
    name: str,
    by: User | None,
    expires_at: datetime | None = None,
    monthly_limit_micros: int | None = None,
) -> tuple[ApiKey, str]:
    """Create a key. Returns the row and the key itself, which is not stored and so cannot be shown again.

    Raises InvalidField for an empty name, a past expiry or a negative limit, and Conflict if the organization has the
    maximum number of live keys.
    """
    name = name.strip()
    now = timezone.now()
    if not name or len(name) > 80 or not name.isprintable():
        raise InvalidField("name", "A key needs a name of 1 to 80 characters, on one line.")
    if expires_at is not None and expires_at <= now:
        raise InvalidField("expires_at", "The expiry must be in the future.")
    _check_limit(monthly_limit_micros)
    key = generate()
    with transaction.atomic():
        # The lock on the organization makes count and insert atomic.
        Organization.objects.select_for_update().get(pk=organization.pk)
        if ApiKey.objects.of(organization).live(now=now).count() >= settings.MAX_LIVE_API_KEYS:
            raise Conflict(f"An organization can have {settings.MAX_LIVE_API_KEYS} live keys. Revoke one first.")
        row = ApiKey.objects.create(
            organization=organization,
            name=name,
            prefix=key[: len(PREFIX) + 4],
            sha256=_hash(key),
            created_by=by,
            expires_at=expires_at,
            monthly_limit_micros=monthly_limit_micros,
        )
    return row, key


def find(key: str) -> ApiKey | None:
    """Return the live key with its organization, or None. Updates `last_used_at`."""
    if not is_well_formed(key):
        return None
    row = _stored(_hash(key))
    now = timezone.now()
    if row is None or not row.is_live(now=now):
        return None
    if row.last_used_at is None or row.last_used_at < now - LAST_USED_STEP:
        ApiKey.objects.filter(pk=row.pk).update(last_used_at=now)
    return row


def set_monthly_limit(organization: Organization, *, key_id: uuid.UUID | str, limit_micros: int | None) -> ApiKey:
    """Set what a key may spend in a calendar month (UTC): 0 blocks all spending, None removes the limit.

    `billing` enforces it.

    Raises NotFound for another organization's key, and InvalidField for a negative limit.
    """
    _check_limit(limit_micros)
    row = ApiKey.objects.of(organization).filter(pk=key_id).first()
    if row is None:
        raise NotFound("There is no such key.")
    row.monthly_limit_micros = limit_micros
    row.save(update_fields=["monthly_limit_micros"])
    return row


def revoke(organization: Organization, *, key_id: uuid.UUID | str) -> ApiKey:
    """Revoke a key immediately and permanently. Raises NotFound for another organization's key."""
    row = ApiKey.objects.of(organization).filter(pk=key_id).first()
    if row is None:
        raise NotFound("There is no such key.")
    ApiKey.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
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


def _check_limit(micros: int | None) -> None:
    if micros is not None and micros < 0:
        raise InvalidField("monthly_limit", "The monthly limit must not be negative.")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
