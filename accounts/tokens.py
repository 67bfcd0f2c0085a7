"""Short-lived tokens for browsers: a key makes them, and none of them has more than its key.

A token is a row of ApiKey with a parent (docs/decisions/0059). `api_keys` takes from it what its key loses.
"""

import uuid
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import api_keys
from accounts.errors import Conflict, Forbidden, InvalidField, NotFound, Unauthorized
from accounts.models import TOKEN_SCOPES, ApiKey, Scope

MAX_LIFETIME = timedelta(hours=1)
DEFAULT_LIFETIME = timedelta(minutes=10)
# So long the row of a token that has ended is kept. Work that it ordered ends much earlier.
KEEP_FOR = timedelta(days=30)


def issue(
    parent: ApiKey, *, name: str, scopes: Iterable[str], lifetime: timedelta, spend_limit_micros: int
) -> tuple[ApiKey, str]:
    """Create a token of a key. Returns the row and the token itself, which is not stored and cannot be shown again.

    lifetime: it ends earlier if its key does, or the old secret by which a rotated key was named.
    spend_limit_micros: what it may spend in all, besides the limits of its key and its organization.
    Raises InvalidField for a wrong name, a scope that no token has, or a lifetime or limit out of range; Forbidden for
    a scope that the key does not have, or if the key is a token; Conflict for too many live tokens; Unauthorized if the
    key was revoked, rotated or ended meanwhile.
    """
    wanted = set(scopes)
    if not wanted <= set(TOKEN_SCOPES):
        raise InvalidField("scopes", f"A token has one or more scopes of: {', '.join(TOKEN_SCOPES)}.")
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise InvalidField("expires_in_seconds", f"A token lives 1 to {MAX_LIFETIME // timedelta(seconds=1)} seconds.")
    if spend_limit_micros < 0:
        raise InvalidField("spend_limit_micros", "The spend limit must not be negative.")
    scopes_text, name = api_keys.scopes_text(wanted), api_keys.checked_name(name)
    secret = api_keys.generate(api_keys.TOKEN_PREFIX)
    require_key(parent)
    with transaction.atomic():
        key = _locked(parent)
        now = timezone.now()
        _require_scopes(key, wanted=wanted)
        if ApiKey.objects.tokens_of(key).live(now=now).count() >= settings.MAX_LIVE_TOKENS:
            raise Conflict(f"An API key can have {settings.MAX_LIVE_TOKENS} live tokens. Wait, or revoke one.")
        ends = [now + lifetime, key.expires_at, key.previous_until if key.is_by_previous_secret else None]
        row = ApiKey.objects.create(
            organization_id=key.organization_id,
            parent=key,
            name=name,
            prefix=api_keys.shown_prefix(secret),
            sha256=api_keys.digest(secret),
            created_at=now,
            expires_at=min(end for end in ends if end is not None),
            monthly_limit_micros=spend_limit_micros,
            scopes=scopes_text,
        )
    return row, secret


def require_key(caller: ApiKey) -> None:
    """Raise Forbidden for a token."""
    if caller.is_token:
        raise Forbidden("A token cannot make or manage tokens. Use an API key.")


def of_key(parent: ApiKey, *, token_id: uuid.UUID | str) -> ApiKey:
    """Return a token of a key. Raises NotFound for the token of another key."""
    row = ApiKey.objects.tokens_of(parent).filter(pk=token_id).first()
    if row is None:
        raise NotFound("There is no such token.")
    return row


def revoke(parent: ApiKey, *, token_id: uuid.UUID | str) -> ApiKey:
    """Revoke a token of a key. Raises NotFound for the token of another key."""
    row = of_key(parent, token_id=token_id)
    ApiKey.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
    row.refresh_from_db()
    return row


def _locked(parent: ApiKey) -> ApiKey:
    """Lock a key, so that its tokens are counted and nobody takes anything from it, and return it as it is now.

    Raises Unauthorized if the secret that the caller has works no more.
    """
    key = ApiKey.objects.select_for_update(no_key=True).filter(pk=parent.pk).first()
    if key is None:
        raise Unauthorized
    key.is_by_previous_secret = parent.is_by_previous_secret
    now = timezone.now()
    if parent.is_by_previous_secret:
        is_known = key.previous_sha256 == parent.previous_sha256 and (key.previous_until or now) > now
    else:
        is_known = key.sha256 == parent.sha256
    if not is_known or not key.is_live(now=now):
        raise Unauthorized
    return key


def _require_scopes(key: ApiKey, *, wanted: set[str]) -> None:
    missing = [scope.value for scope in Scope if scope in wanted - key.scope_set]
    if missing:
        raise Forbidden(f"This API key cannot give scopes that it does not have: {', '.join(missing)}.")
