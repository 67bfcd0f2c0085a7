"""What may be called, by the URL and by the address. The table of hostile ones is in test_outbound.py."""

import ipaddress

import pytest

from transcription import public_addresses
from transcription.public_addresses import AddressRefused, Exceptions


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://example.com/talk.mp3", "https://example.com/talk.mp3"),
        ("HTTP://Example.COM:80", "http://example.com/"),
        ("https://93.184.215.14/a", "https://93.184.215.14/a"),
        ("https://[2606:2800:21F::1]/a", "https://[2606:2800:21f::1]/a"),
        ("https://bücher.example/ä?ö=ü#x", "https://xn--bcher-kva.example/%C3%A4?%C3%B6=%C3%BC"),
        ("https://example.com./a", "https://example.com./a"),
        # Bytes of a Location that are no UTF-8, as aiohttp reads them.
        ("https://example.com/caf\udce9.mp3", "https://example.com/caf%E9.mp3"),
        # Signatures of some stores cover the text of the URL, so nothing of it may be spelled anew.
        (
            "https://a.example/x%2Fy%7e/../z?sig=a%2Fb%3D+c~&e=%7B",
            "https://a.example/x%2Fy%7e/../z?sig=a%2Fb%3D+c~&e=%7B",
        ),
    ],
)
def test_public_url_is_sent_as_it_is(url, sent):
    assert str(public_addresses.parse(url)) == sent


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/a", "begin with https"),
        ("example.com/a", "begin with https"),
        ("https:///a", "no host name"),
        ("https://exa mple.com/", "blank"),
        ("https://example.com/a\nb", "blank"),
        ("https://example.com\\@127.0.0.1/", "backslash"),
        ("https://user@example.com/", "password"),
        ("https://:@example.com/", "password"),
        ("https://example.com:8080/", "not 8080"),
        ("https://example.com:0x50/", "no number"),
        ("https://example.com:70000/", "no number"),
        ("https://[::1/", "cannot be read"),
        ("https://[v1.x]/", "no IPv6 address"),
        ("https://-example.com/", "no host name"),
        ("https://exam%70le.com/", "no host name"),
        ("https://a..b/", "no host name"),
        (f"https://example.com/{'a' * 8192}", "longer"),
        ("https://1.2.3/", "four decimal"),
        ("https://example.com/\ud800.mp3", "no text"),
    ],
)
def test_url_that_cannot_be_called_is_refused_with_the_reason(url, reason):
    with pytest.raises(AddressRefused, match=reason):
        public_addresses.parse(url)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00::1"]
)
def test_neighbours_of_special_networks_are_public(address):
    assert public_addresses.is_public(ipaddress.ip_address(address))


def test_exception_is_of_one_address_and_one_port():
    exceptions = Exceptions(sockets=frozenset({("127.0.0.1", 9000)}))
    assert str(public_addresses.parse("http://127.0.0.1:9000/", exceptions=exceptions)) == "http://127.0.0.1:9000/"
    for url in ("http://127.0.0.1:80/", "http://127.0.0.2:9000/", "http://127.0.0.1:9001/"):
        with pytest.raises(AddressRefused):
            public_addresses.parse(url, exceptions=exceptions)
    # A public address is no exception on that port.
    with pytest.raises(AddressRefused, match="not 9000"):
        public_addresses.require_public(ipaddress.ip_address("8.8.8.8"), port=9000, exceptions=exceptions)
