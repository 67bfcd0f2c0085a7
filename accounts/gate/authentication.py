"""Authentication of API requests by the headers X-API-Key or Authorization."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth import SESSION_KEY

from accounts import api_keys, log_context
from accounts.errors import Forbidden, Unauthorized
from accounts.models import ApiKey, Organization
from accounts.sessions import SessionStore

# Schemes of the header Authorization. Each address takes Bearer; a dialect takes what its published API takes besides.
BEARER, TOKEN, BASIC = "Bearer", "Token", "Basic"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller: an organization and the API key that it used."""

    organization: Organization
    api_key: ApiKey


def key_in(headers: Mapping[str, str], *, schemes: Sequence[str] = (BEARER,)) -> str:
    """Return the key of the headers, or an empty text. X-API-Key takes precedence over Authorization.

    schemes: those of Authorization that are read.
    """
    key = headers.get("X-API-Key", "").strip()
    if key:
        return key
    word, _, credential = headers.get("Authorization", "").partition(" ")
    scheme = next((one for one in schemes if one.lower() == word.lower()), "")
    if scheme == BASIC:
        return _key_in_basic(credential.strip())
    return credential.strip() if scheme else ""


def challenge(schemes: Sequence[str] = (BEARER,)) -> str:
    """Return the value of WWW-Authenticate that asks for these schemes (RFC 9110, 11.6.1)."""
    return ", ".join(f'{scheme} realm="Voxsite"' if scheme == BASIC else scheme for scheme in schemes)


def authenticate(headers: Mapping[str, str], *, schemes: Sequence[str] = (BEARER,)) -> Caller:
    """Return the caller. schemes: as in `key_in`.

    Raises Unauthorized without a key, or for an unknown, revoked or expired key. The message does not say which of the
    three it is. Raises Forbidden for a key of an organization whose owner has not verified an e-mail address.
    """
    key = key_in(headers, schemes=schemes)
    if not key:
        ways = ["'X-API-Key: <key>'", *(f"'Authorization: {one} <key>'" for one in schemes if one != BASIC)]
        if BASIC in schemes:
            ways.append("the password of Basic authentication")
        raise Unauthorized(f"No API key. Send it as {' or '.join(ways)}.", error_type="missing_api_key")
    row = api_keys.find(key)
    if row is None:
        raise Unauthorized
    if not row.organization.is_verified:
        raise Forbidden(
            "This organization's owner has not verified an email address yet.", error_type="email_not_verified"
        )
    log_context.add(organization_id=row.organization_id, key_id=row.pk)
    return Caller(organization=row.organization, api_key=row)


def is_known(headers: Mapping[str, str], *, cookies: Mapping[str, str], schemes: Sequence[str] = (BEARER,)) -> bool:
    """Tell whether the headers have a live key or the cookies a signed-in session. Used before a body is read.

    It grants nothing: the view still authenticates the request.
    """
    key = key_in(headers, schemes=schemes)
    if key:
        return api_keys.find(key) is not None
    session_key = cookies.get(settings.SESSION_COOKIE_NAME, "")
    return bool(session_key) and SESSION_KEY in SessionStore(session_key)


def _key_in_basic(credential: str) -> str:
    """Return the half of `user:password` in base64 that has the form of a key, else the one that is not empty.

    Programs that know an address only take it as http://user:password@host, and people put the key into either half.
    """
    try:
        user, _, password = base64.b64decode(credential, validate=True).decode().partition(":")
    except ValueError:  # No base64, letters outside ASCII, or no UTF-8 inside.
        return ""
    halves = [half.strip() for half in (password, user) if half.strip()]
    return next(
        (half for half in halves if half.startswith((api_keys.PREFIX, api_keys.TOKEN_PREFIX))),
        halves[0] if halves else "",
    )
