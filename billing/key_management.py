"""What a key with the scope `admin` may do to the keys of its organization: never give, nor get, more than it has.

What a key has: its scopes, its expiry, its monthly limit. See docs/decisions/0051.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts import api_keys
from accounts.errors import Conflict, Forbidden, Unauthorized
from accounts.models import ApiKey, Organization, Scope
from billing import ledger


def create(
    actor: ApiKey, *, name: str, scopes: list[str], expires_at: datetime | None, monthly_limit_micros: int | None
) -> tuple[ApiKey, str]:
    """Create a key as the acting key asks. Returns its row and its secret, which cannot be shown again.

    A key that expires makes keys that expire with it or before. Of a key with a monthly limit, the limit of the new key
    is taken (`ledger.give_limit`).
    Raises Forbidden for more than the acting key has, InvalidField and Conflict as `api_keys.issue`.
    """
    with _organization_locked(actor):
        if expires_at is None:
            expires_at = actor.expires_at
        _require_scopes(actor, added=set(scopes))
        _require_expiry(actor, expires_at=expires_at)
        ledger.give_limit(actor, amount_micros=monthly_limit_micros)
        return api_keys.issue(
            actor.organization,
            name=name,
            by=actor.created_by,
            expires_at=expires_at,
            monthly_limit_micros=monthly_limit_micros,
            scopes=scopes,
        )


def change(actor: ApiKey, *, key_id: uuid.UUID | str, changes: Mapping[str, Any]) -> ApiKey:
    """Change name, scopes, expires_at or monthly_limit_micros of a key. What is not named stays.

    To take away is always allowed. Raises NotFound for another organization's key, Conflict for one that does not work
    any more, Forbidden for more than the acting key has and for the raise of its own limit, and InvalidField.
    """
    with _organization_locked(actor):
        row = live_key(actor.organization, key_id=key_id)
        if "scopes" in changes:
            _require_scopes(actor, added=set(changes["scopes"]) - set(row.scopes.split()))
        if "expires_at" in changes and is_later(changes["expires_at"], than=row.expires_at):
            _require_expiry(actor, expires_at=changes["expires_at"])
        if "monthly_limit_micros" in changes:
            # First, since it locks the wallet, and a key is locked after that.
            require_limit(actor, row=row, limit_micros=changes["monthly_limit_micros"])
        facts = {name: value for name, value in changes.items() if name != "monthly_limit_micros"}
        api_keys.change(row, **facts)
        if "monthly_limit_micros" in changes:
            row = api_keys.set_monthly_limit(
                actor.organization, key_id=row.pk, limit_micros=changes["monthly_limit_micros"]
            )
    return row


def rotate(actor: ApiKey, *, key_id: uuid.UUID | str, overlap: timedelta) -> tuple[ApiKey, str]:
    """Give a key a new secret. Returns its row and the secret, which cannot be shown again.

    Whoever rotates a key can use it. So the acting key needs all of its scopes and may not expire before it, and one
    with a monthly limit rotates only itself.
    Raises NotFound, Conflict, Forbidden and InvalidField, as `change`.
    """
    with _organization_locked(actor):
        row = live_key(actor.organization, key_id=key_id)
        if row.pk != actor.pk:
            _require_scopes(actor, added=set(row.scopes.split()))
            _require_expiry(actor, expires_at=row.expires_at)
            if actor.monthly_limit_micros is not None:
                raise Forbidden("This API key has a monthly limit, so it can rotate only itself.")
        secret = api_keys.rotate(row, overlap=overlap, by=actor.created_by)
    return api_keys.of_organization(actor.organization, key_id=key_id), secret


def require_limit(actor: ApiKey, *, row: ApiKey, limit_micros: int | None) -> None:
    """Raise Forbidden unless the acting key may give a key this monthly limit. Takes the raise from its own limit.

    Call it in the transaction that sets the limit.
    """
    before = row.monthly_limit_micros
    if before is None or (limit_micros is not None and limit_micros <= before):
        return
    if row.pk == actor.pk:
        raise Forbidden("An API key cannot raise its own limit.")
    ledger.give_limit(actor, amount_micros=None if limit_micros is None else limit_micros - before)


def set_limit(
    actor: ApiKey,
    *,
    key_id: uuid.UUID | None,
    limit_micros: int | None,
    raised_micros: int | None,
    raised_until: datetime | None,
) -> ApiKey | None:
    """Set a monthly limit and its temporary raise. Returns the key, None for the organization's limit.

    key_id: None for the whole organization. raised_micros, raised_until: None for no raise.
    A key with a limit may lower the organization's limit and raise no limit for a time.
    Raises Forbidden, NotFound, Conflict as `change`, and InvalidField for a raise that is none.
    """
    is_raised = raised_micros is not None and raised_until is not None
    with _organization_locked(actor):
        if is_raised and (actor.pk == key_id or actor.monthly_limit_micros is not None):
            raise Forbidden("An API key that has a monthly limit cannot raise a limit for a time, nor can it its own.")
        if key_id is None:
            before = ledger.wallet_of(actor.organization).monthly_limit_micros
            is_lower = before is None or (limit_micros is not None and limit_micros <= before)
            if actor.monthly_limit_micros is not None and not is_lower:
                raise Forbidden("An API key that has a monthly limit cannot raise that of its organization.")
            ledger.set_monthly_limit(actor.organization, limit_micros=limit_micros)
            if raised_micros is not None and raised_until is not None:
                ledger.raise_monthly_limit(actor.organization, limit_micros=raised_micros, until=raised_until)
            return None
        row = live_key(actor.organization, key_id=key_id)
        require_limit(actor, row=row, limit_micros=limit_micros)
        row = api_keys.set_monthly_limit(actor.organization, key_id=row.pk, limit_micros=limit_micros)
        if raised_micros is not None and raised_until is not None:
            api_keys.raise_limit(row, limit_micros=raised_micros, until=raised_until)
    return row


def live_key(organization: Organization, *, key_id: uuid.UUID | str) -> ApiKey:
    """Return a key that works. Raises NotFound for another organization's, and Conflict for one that is over."""
    row = api_keys.of_organization(organization, key_id=key_id)
    if not row.is_live(now=timezone.now()):
        raise Conflict("This key is revoked or expired. Create a new one.")
    return row


def is_later(moment: datetime | None, *, than: datetime | None) -> bool:
    """Compare two moments of expiry. None is never, so it is later than all."""
    return than is not None and (moment is None or moment > than)


@contextmanager
def _organization_locked(actor: ApiKey) -> Iterator[None]:
    """Open a transaction in which no other changes the organization's keys. Reads the acting key again.

    The order of locks is organization, wallet, keys. The lock lets others insert rows that refer to the organization:
    a request that did so while it holds the wallet would wait for this one, and this one for it.
    """
    with transaction.atomic():
        Organization.objects.select_for_update(no_key=True).get(pk=actor.organization_id)
        secret = actor.sha256
        actor.refresh_from_db(fields=["sha256", "scopes", "expires_at", "monthly_limit_micros", "revoked_at"])
        # Of a key that was rotated while this waited for the lock, the caller has the old secret.
        if actor.sha256 != secret or not actor.is_live(now=timezone.now()):
            raise Unauthorized
        yield


def _require_scopes(actor: ApiKey, *, added: set[str]) -> None:
    missing = sorted(added - {scope.value for scope in actor.scope_set})
    # An unknown name is refused by `api_keys`.
    if missing and not added - set(Scope):
        raise Forbidden(f"This API key cannot give scopes that it does not have: {', '.join(missing)}.")


def _require_expiry(actor: ApiKey, *, expires_at: datetime | None) -> None:
    if is_later(expires_at, than=actor.expires_at):
        raise Forbidden("This API key expires, so it cannot make keys last longer than itself.")
