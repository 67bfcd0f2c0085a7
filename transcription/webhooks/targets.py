"""Where a webhook goes, as a customer writes it: a URL, and a header with which the receiver lets us in."""

import re
from dataclasses import dataclass

from yarl import URL

from accounts import encryption
from accounts.errors import InvalidField
from transcription import outbound
from transcription.models import Job
from transcription.models.webhooks import MAX_URL_LENGTH

MAX_HEADER_NAME_LENGTH = 100
MAX_HEADER_VALUE_LENGTH = 2000
# RFC 9110, section 5.6.2 (token) and 5.5 (visible ASCII and blanks inside).
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
# They belong to the connection or to the message. A customer who could set them could forge what the signature says,
# or send a second request inside the first.
RESERVED_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
RESERVED_PREFIXES = ("webhook-", "proxy-", "x-transcribeapi-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """How a form calls the three fields, for its errors."""

    url: str = "webhook_url"
    header_name: str = "webhook_auth_header_name"
    header_value: str = "webhook_auth_header_value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A receiver. url: as it is sent to. header_value: encrypted; empty, as the name, for none."""

    url: str
    host: str
    header_name: str = ""
    header_value: str = ""


def read(*, url: str, header_name: str = "", header_value: str = "", names: Names = Names()) -> Target:
    """Return the receiver that a customer wrote. Raises InvalidField.

    Addresses that host names have are judged when it is sent, each time.
    """
    url = url.strip()
    if len(url) > MAX_URL_LENGTH:
        raise InvalidField(names.url, f"The URL may have {MAX_URL_LENGTH} characters at most.")
    try:
        parsed = outbound.parse(url)
    except outbound.AddressRefused as error:
        raise InvalidField(names.url, str(error)) from error
    header_name, header_value = header_name.strip(), header_value.strip()
    if header_value and not header_name:
        raise InvalidField(names.header_name, "Name the header that has this value.")
    if header_name and not header_value:
        raise InvalidField(names.header_value, "The header needs a value.")
    if header_name:
        _require_header(header_name, header_value, names=names)
    return Target(
        url=url,
        host=_host_of(parsed),
        header_name=header_name,
        header_value=encryption.encrypt(header_value) if header_value else "",
    )


def of(job: Job) -> Target | None:
    """Return the webhook of a job."""
    if not job.webhook_url:
        return None
    return Target(
        url=job.webhook_url,
        host=host_in(job.webhook_url),
        header_name=job.webhook_header_name,
        header_value=job.webhook_header_value,
    )


def host_in(url: str) -> str:
    """Return host and port of a URL that was accepted before, "" if it would be refused now."""
    try:
        return _host_of(outbound.parse(url))
    except outbound.AddressRefused:
        return ""


def _host_of(parsed: URL) -> str:
    return f"{parsed.raw_host}:{parsed.port}"[:300]


def _require_header(name: str, value: str, *, names: Names) -> None:
    if len(name) > MAX_HEADER_NAME_LENGTH or not HEADER_NAME.fullmatch(name):
        raise InvalidField(names.header_name, "A header's name has letters, digits and hyphens, such as Authorization.")
    if name.lower() in RESERVED_HEADERS or name.lower().startswith(RESERVED_PREFIXES):
        raise InvalidField(names.header_name, f"The header {name} cannot be set. Authorization is usual.")
    if len(value) > MAX_HEADER_VALUE_LENGTH or not HEADER_VALUE.fullmatch(value):
        raise InvalidField(
            names.header_value, f"A header's value is one line of up to {MAX_HEADER_VALUE_LENGTH} ASCII characters."
        )
