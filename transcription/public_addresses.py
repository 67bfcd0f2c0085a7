"""Which addresses that customers name may be called: public ones, on the ports of the web. Pure.

`parse` reads a URL, and `require_public` judges the address that its host has. The caller connects to exactly the
address that was judged (`outbound`).
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

import idna
from yarl import URL

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Signed addresses of object storage have up to three thousand characters.
MAX_URL_LENGTH = 8192
PORTS = (80, 443)

# IANA, "IPv4 Special-Purpose Address Registry" and "IPv4 Multicast Address Space Registry", read 2026-11-29.
_REFUSED_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # The address at which Azure's virtual machines reach their host. Microsoft, "What is IP address
        # 168.63.129.16?", read 2026-11-29.
        "168.63.129.16/32",
    )
)
# All global unicast addresses. So loopback, link-local, site-local and private addresses lie outside, and every way to
# write an IPv4 address in the first 96 bits of zeros or in the prefixes of NAT64 (RFC 4291, RFC 6052, RFC 8215).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# IANA, "IPv6 Special-Purpose Address Registry", read 2026-11-29: protocols (Teredo among them), documentation, 6to4
# with an IPv4 address inside, AS112.
_REFUSED_IPV6 = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)

# Blanks, control characters, and the backslash, which some parsers take for a slash. Letters beyond ASCII are encoded.
_NOT_IN_URLS = re.compile(r"[\x00-\x20\\\x7f]")
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
# The last label of what a resolver may take for an IPv4 address (WHATWG URL, "ends in a number checker", read
# 2026-11-29): 2130706433, 0x7f.1, 127.1, 0177.0.0.1.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class AddressRefused(Exception):
    """The URL, or an address of its host, is none that may be called. The text is for the customer."""


@dataclass(frozen=True, slots=True)
class Exceptions:
    """Addresses that may be called although they are not public, on any port: for development and tests.

    sockets: pairs of address and port. is_everything: all addresses and ports.
    """

    sockets: frozenset[tuple[str, int]] = frozenset()
    is_everything: bool = False

    def has_port(self, port: int) -> bool:
        return self.is_everything or any(port == allowed for _, allowed in self.sockets)


NO_EXCEPTIONS = Exceptions()


def parse(text: str, *, exceptions: Exceptions = NO_EXCEPTIONS) -> URL:
    """Return a URL whose scheme, host and port may be called. Its host may still have a private address.

    Path and query are kept byte by byte, since they may be signed. Raises AddressRefused.
    """
    parts = _split(text)
    host = _host_of(parts)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise AddressRefused("The port of the URL is no number from 1 to 65535.") from error
    if port not in PORTS and not exceptions.has_port(port):
        raise AddressRefused(f"Only the ports 80 and 443 may be used, not {port}.")
    authority = f"[{host}]" if ":" in host else host
    query = f"?{_encoded(parts.query)}" if parts.query else ""
    url = URL(f"{parts.scheme}://{authority}:{port}{_encoded(parts.path) or '/'}{query}", encoded=True)
    assert (url.raw_host, url.port) == (host, port), "yarl reads the host and port that were judged here"
    address = literal(url)
    if address is not None:
        require_public(address, port=port, exceptions=exceptions)
    return url


def literal(url: URL) -> IPAddress | None:
    """Return the address that stands in a parsed URL in the place of a host name."""
    try:
        return ipaddress.ip_address(url.raw_host or "")
    except ValueError:
        return None


def require_public(address: IPAddress, *, port: int, exceptions: Exceptions = NO_EXCEPTIONS) -> None:
    """Raise AddressRefused unless the address is public and the port one of the web's, or both are an exception."""
    if exceptions.is_everything or (str(address), port) in exceptions.sockets:
        return
    if not is_public(address):
        raise AddressRefused("The address of the URL's host is not public.")
    if port not in PORTS:
        raise AddressRefused(f"Only the ports 80 and 443 may be used, not {port}.")


def is_public(address: IPAddress) -> bool:
    """Tell whether an address is one of the public internet, and neither special nor private."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _REFUSED_IPV4)
    return (
        address in _GLOBAL_UNICAST
        and address.is_global
        and not address.scope_id
        and not any(address in network for network in _REFUSED_IPV6)
    )


def _split(text: str) -> SplitResult:
    if len(text) > MAX_URL_LENGTH:
        raise AddressRefused(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    # urlsplit() drops line breaks and tabs, and other parsers read a backslash as a slash.
    if _NOT_IN_URLS.search(text):
        raise AddressRefused("The URL has a blank, a control character or a backslash in it. Encode it with '%'.")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise AddressRefused("The URL cannot be read.") from error
    if parts.scheme not in ("http", "https"):
        raise AddressRefused("The URL must begin with https:// or http://.")
    if "@" in parts.netloc:
        raise AddressRefused("The URL must have no user name and password in it.")
    return parts


def _host_of(parts: SplitResult) -> str:
    """Return the host in ASCII, lower case and, for an address, in its one usual spelling."""
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise AddressRefused("The host of the URL is no IPv6 address.") from error
        if address.scope_id:
            raise AddressRefused("The address of the URL's host is not public.")
        return str(address)
    try:
        host = host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise AddressRefused("The host of the URL is no host name.") from error
    host = host.lower()
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise AddressRefused("The URL has no host name that can be called.")
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise AddressRefused("Write an IPv4 address as four decimal numbers, such as 93.184.215.14.") from error
    return host


def _encoded(part: str) -> str:
    """Return a path or query in ASCII. What is ASCII already stays as it is.

    aiohttp reads bytes of a header that are no UTF-8 as half characters: they are written as those bytes. Other halves,
    which JSON can have, raise AddressRefused.
    """
    try:
        return quote(part.encode("utf-8", "surrogateescape"), safe="".join(map(chr, range(0x21, 0x7F))))
    except UnicodeEncodeError as error:
        raise AddressRefused("The URL has characters that are no text.") from error
