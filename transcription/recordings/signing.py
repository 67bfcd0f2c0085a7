"""Signed addresses: each permits one method on one path until it expires, without an API key.

The signature is an HMAC-SHA256 over the method, the path and all other parameters of the query: expiry, size, content
type and whatever else is to be trusted. Its key is derived from SECRET_KEY, so the addresses of a rotated key end,
unless it stands in SECRET_KEY_FALLBACKS. The host is not signed: a site may be reached under several names. This module
reads the settings and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import parse_qsl, quote, urlencode

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.errors import Forbidden

SALT = "transcription.recordings.signing"
# Parameters of the query that have a meaning here. Others are signed with them.
EXPIRES, SIZE, TYPE, SIGNATURE = "expires", "size", "type", "signature"
MAX_PARAMETERS = 12


class BadSignature(Forbidden):
    """The address was not signed here, or was changed, or serves another method."""

    default_message = "The signature of this address does not fit the request."


class AddressExpired(Forbidden):
    """The address was signed here, and its time is over."""

    default_message = "This address has expired. Ask for a new one."


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed with an address. size_bytes: of the body, None for any. content_type: "" for any."""

    expires_at: datetime
    size_bytes: int | None = None
    content_type: str = ""
    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def signed_path(
    path: str,
    *,
    expires_at: datetime,
    method: str = "GET",
    size_bytes: int | None = None,
    content_type: str = "",
    fields: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the path with a query that says until when it may be used, and proves it.

    path: as `check` will get it. Raises ValueError for one that is written differently in an address.
    fields: further parameters of the query, such as the number of an upload in parts.
    """
    if quote(path, safe="/~") != path:
        raise ValueError(f"the path {path!r} has characters that addresses escape")
    parameters = {EXPIRES: str(int(expires_at.timestamp())), **fields}
    if size_bytes is not None:
        parameters[SIZE] = str(size_bytes)
    if content_type:
        parameters[TYPE] = content_type
    signature = _signature(settings.SECRET_KEY, method=method, path=path, parameters=parameters)
    return f"{path}?{urlencode({**parameters, SIGNATURE: signature})}"


def check(path: str, *, query: str, now: datetime, method: str = "GET") -> Signed:
    """Return what was signed with an address. Raises BadSignature and AddressExpired.

    path, query: as the request has them, the query without its question mark.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise BadSignature from error
    parameters = dict(pairs)
    given = parameters.pop(SIGNATURE, "")
    # A parameter that comes twice has two values: the signed one and another one that somebody may read.
    if len(pairs) != len(parameters) + 1 or not any(
        constant_time_compare(_signature(key, method=method, path=path, parameters=parameters), given)
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ):
        raise BadSignature
    # From here on, all parameters are as they were signed.
    expires_at = datetime.fromtimestamp(int(parameters.pop(EXPIRES)), tz=UTC)
    if expires_at <= now:
        raise AddressExpired
    size = parameters.pop(SIZE, None)
    return Signed(
        expires_at=expires_at,
        size_bytes=None if size is None else int(size),
        content_type=parameters.pop(TYPE, ""),
        fields=MappingProxyType(parameters),
    )


def _signature(key: str, *, method: str, path: str, parameters: Mapping[str, str]) -> str:
    # No part can run into the next one: methods and paths have no line breaks, and urlencode escapes those of values.
    message = "\n".join((method, path, urlencode(sorted(parameters.items()))))
    return salted_hmac(SALT, message, secret=key, algorithm="sha256").hexdigest()
