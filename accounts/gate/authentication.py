"""Authentication of API requests by the headers X-API-Key or Authorization."""

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
    """The caller: an organization and the API key that it used."""

    organization: Organization
    api_key: ApiKey


def key_in(headers: Mapping[str, str]) -> str:
    """Return the key of the headers, or an empty text. X-API-Key takes precedence over Authorization: Bearer."""
    key = headers.get("X-API-Key", "").strip()
    if key:
        return key
    scheme, _, credential = headers.get("Authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def authenticate(headers: Mapping[str, str]) -> Caller:
    """Return the caller.

    Raises Unauthorized without a key, or for an unknown, revoked or expired key. The message does not say which of the
    three it is. Raises Forbidden for a key of an organization whose owner has not verified an e-mail address.
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
            "This organization's owner has not verified an email address yet.", error_type="email_not_verified"
        )
    return Caller(organization=row.organization, api_key=row)


def is_known(headers: Mapping[str, str], *, cookies: Mapping[str, str]) -> bool:
    """Tell whether the headers have a live key or the cookies a signed-in session. Used before a body is read.

    It grants nothing: the view still authenticates the request.
    """
    key = key_in(headers)
    if key:
        return api_keys.find(key) is not None
    session_key = cookies.get(settings.SESSION_COOKIE_NAME, "")
    return bool(session_key) and SESSION_KEY in SessionStore(session_key)
