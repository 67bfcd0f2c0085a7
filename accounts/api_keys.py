"""API keys: issue, find, revoke. A key is `vxp_live_`, 32 random base-62 characters and 6 of checksum.

The checksum (CRC-32 of the random part, base 62, as GitHub's tokens have it) lets a scanner tell a leaked key from a
random text without asking us, and lets us refuse a mistyped one without asking the database.
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

MARK = "vxp_live_"
RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# `last_used_at` is for people: a write per minute is enough, one per request would be the hottest row we have.
LAST_USED_STEP = timedelta(minutes=1)


def generate() -> str:
    """Return a new random key."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return f"{MARK}{body}{_checksum(body)}"


def is_well_formed(key: str) -> bool:
    """Tell whether the text can be a key at all: mark, length, alphabet and checksum."""
    body, checksum = key[len(MARK) : -CHECKSUM_LENGTH], key[-CHECKSUM_LENGTH:]
    return key.startswith(MARK) and len(body) == RANDOM_LENGTH and key.isascii() and _checksum(body) == checksum


def issue(
    organization: Organization,
    *,
    name: str,
    by: User | None,
    expires_at: datetime | None = None,
    monthly_limit_micros: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key. Returns the row and the key itself, which can never be shown again.

    Raises InvalidField for an empty name, a past expiry or a negative limit, Conflict when the organization has as
    many live keys as it may.
    """
    name = name.strip()
    now = timezone.now()
    if not name or len(name) > 80 or not name.isprintable():
        raise InvalidField("name", "A key needs a name of 1 to 80 characters, on one line.")
    if expires_at is not None and expires_at <= now:
        raise InvalidField("expires_at", "The expiry must lie in the future.")
    _check_limit(monthly_limit_micros)
    key = generate()
    with transaction.atomic():
        # The lock on the organization makes count and insert one step.
        Organization.objects.select_for_update().get(pk=organization.pk)
        if ApiKey.objects.of(organization).live(now=now).count() >= settings.MAX_LIVE_API_KEYS:
            raise Conflict(f"An organization can have {settings.MAX_LIVE_API_KEYS} live keys. Revoke one first.")
        row = ApiKey.objects.create(
            organization=organization,
            name=name,
            prefix=key[: len(MARK) + 4],
            sha256=_hash(key),
            created_by=by,
            expires_at=expires_at,
            monthly_limit_micros=monthly_limit_micros,
        )
    return row, key


def find(key: str) -> ApiKey | None:
    """Return the live key with its organization, or None. Touches `last_used_at`."""
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
    """Set the most that a key may spend in a calendar month (UTC): 0 for nothing, None for no limit.

    `billing` enforces it.

    Raises NotFound for another organization's key, InvalidField for a negative limit.
    """
    _check_limit(limit_micros)
    row = ApiKey.objects.of(organization).filter(pk=key_id).first()
    if row is None:
        raise NotFound("There is no such key.")
    row.monthly_limit_micros = limit_micros
    row.save(update_fields=["monthly_limit_micros"])
    return row


def revoke(organization: Organization, *, key_id: uuid.UUID | str) -> ApiKey:
    """End a key at once and for good. Raises NotFound for another organization's."""
    row = ApiKey.objects.of(organization).filter(pk=key_id).first()
    if row is None:
        raise NotFound("There is no such key.")
    ApiKey.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
    row.refresh_from_db()
    return row


def _stored(sha256: str) -> ApiKey | None:
    """Return the key of this digest with its organization.

    Every request of a program begins here, and to build the same SQL again took twice as long as to run it. So Django
    builds it once, and converts what it gives as it would itself.
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
    """Return the SQL, the names of its columns (those of the key, then those of its organization), and converters."""
    query = ApiKey.objects.select_related("organization").filter(sha256="").query
    compiler = query.get_compiler(DEFAULT_DB_ALIAS)
    sql, _ = compiler.as_sql()
    columns = [column for column, _, _ in compiler.select]
    return sql, [column.target.attname for column in columns], compiler.get_converters(columns)


def _check_limit(micros: int | None) -> None:
    if micros is not None and micros < 0:
        raise InvalidField("monthly_limit", "The monthly limit cannot be less than zero.")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
