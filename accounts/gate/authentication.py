"""From either header to the organization and the key."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth import SESSION_KEY

from accounts import api_keys
from accounts.errors import Forbidden, Unauthorized
from accounts.models import ApiKey, Organization
from accounts.sessions import SessionStore


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: an organization, through one of its keys."""

    organization: Organization
    api_key: ApiKey


def key_in(headers: Mapping[str, str]) -> str:
    """Return the key that the headers carry, or an empty text. X-API-Key wins over Authorization: Bearer."""
    key = headers.get("X-API-Key", "").strip()
    if key:
        return key
    scheme, _, credential = headers.get("Authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def authenticate(headers: Mapping[str, str]) -> Caller:
    """Return who calls.

    Raises Unauthorized for no key or one that is unknown, revoked or expired (which of these is not told), Forbidden
    for the key of an organization without a verified e-mail address.
    """
    key = key_in(headers)
    if not key:
        raise Unauthorized(
            "No API key. Send it as 'X-API-Key: <key>' or 'Authorization: Bearer <key>'.", error_type="missing_api_key"
        )
    row = api_keys.find(key)
    if row is None:
        raise Unauthorized
    if not row.organization.is_verified:
        raise Forbidden(
            "This organization's owner has not verified an e-mail address yet.", error_type="email_not_verified"
        )
    return Caller(organization=row.organization, api_key=row)


def is_known(headers: Mapping[str, str], *, cookies: Mapping[str, str]) -> bool:
    """Tell whether a live key or a signed-in session is named, for those who must decide before reading a body.

    Grants nothing: the request is authenticated in full when it is answered.
    """
    key = key_in(headers)
    if key:
        return api_keys.find(key) is not None
    session_key = cookies.get(settings.SESSION_COOKIE_NAME, "")
    return bool(session_key) and SESSION_KEY in SessionStore(session_key)
