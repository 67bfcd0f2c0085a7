"""Calls to addresses that customers name: a table of hostile ones, and a real server on this machine."""

import asyncio
import contextlib
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.transcription import remote
from tests.transcription.hostile_addresses import HOSTILE, attackers_dns
from transcription import outbound
from transcription.outbound import AddressRefused, Limits

pytestmark = pytest.mark.enable_socket
LIMITS = Limits(max_bytes=1_000_000, total_seconds=30)


def get(url, *, limits=LIMITS, look_up=None, **arguments):
    """Return (status, body)."""

    async def act():
        async with outbound.call(url, limits=limits, look_up=look_up, **arguments) as answer:
            return answer.status, b"".join([piece async for piece in answer.chunks()])

    return asyncio.run(act())


@pytest.fixture
def server(settings):
    with remote.running(b"0123456789" * 50_000) as running:
        settings.ALLOWED_PRIVATE_ADDRESSES = [running.socket]
        yield running


def test_table_is_long_enough():
    assert len(set(HOSTILE)) >= 60


@pytest.mark.long
@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_address_is_refused(url):
    with pytest.raises(AddressRefused):
        get(url, look_up=attackers_dns)


@pytest.mark.long
@pytest.mark.parametrize("url", [url for url in HOSTILE if url.isprintable()])
def test_redirect_to_a_hostile_address_is_refused(server, url):
    # Without a scheme, a Location is relative to the server that sends it.
    location = f"http:{url}" if url.startswith("//") else url
    with pytest.raises(AddressRefused):
        get(server.url(f"/redirect?to={quote(location, safe='')}"), look_up=attackers_dns)
    assert len(server.asked) == 1


def test_redirect_to_what_is_no_url_is_refused(server):
    with pytest.raises(AddressRefused):
        get(server.url("/redirect?to=http://[x/"))
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", outbound.REDIRECTS)
def test_every_kind_of_redirect_is_judged(server, code):
    with pytest.raises(AddressRefused):
        get(server.url(f"/redirect?code={code}&to=http://127.0.0.2:{server.port}/whole"))


def test_redirects_are_followed_a_few_times(server):
    assert get(server.url("/redirect?to=/redirect?to=/whole")) == (200, server.content)
    with pytest.raises(outbound.Unreachable, match="redirects more than"):
        get(server.url("/loop"))
    assert [one.path for one in server.asked].count("/loop") == outbound.MAX_REDIRECTS + 1


def test_connection_goes_to_the_address_that_was_judged(server):
    """The DNS answers with a private address from the second question on."""
    questions = []

    async def changing_dns(host):
        questions.append(host)
        return ["127.0.0.1"] if len(questions) == 1 else ["127.0.0.2"]

    url = f"http://changes.test:{server.port}/whole"
    assert get(url, look_up=changing_dns) == (200, server.content)
    assert questions == ["changes.test"]
    assert server.asked[0].headers["Host"] == f"changes.test:{server.port}"
    with pytest.raises(AddressRefused):
        get(url, look_up=changing_dns)
    assert len(server.asked) == 1


def test_redirect_back_to_the_same_name_is_looked_up_and_judged_again(server):
    questions = []

    async def changing_dns(host):
        questions.append(host)
        return ["127.0.0.1"] if len(questions) == 1 else ["10.0.0.1"]

    with pytest.raises(AddressRefused):
        get(f"http://changes.test:{server.port}/redirect?to=/whole", look_up=changing_dns)
    assert len(server.asked) == 1


def test_address_in_the_url_is_judged_by_the_socket_too(settings):
    """aiohttp asks no resolver about it, so the last look is at the address that is connected to."""
    settings.ALLOWED_PRIVATE_ADDRESSES = []
    with pytest.raises(AddressRefused):
        outbound._judged_socket(
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80)), exceptions=outbound._exceptions()
        )


def test_nothing_of_this_machine_takes_part(server, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login alice password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.2:1/")
    assert get(server.url("/whole"))[0] == 200
    assert not {"Authorization", "Cookie", "Proxy-Authorization"} & set(server.asked[0].headers)
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


def test_credentials_do_not_follow_a_redirect_to_another_host(server):
    async def dns(host):
        return ["127.0.0.1"]

    sent = {"Authorization": "Bearer secret", "Range": "bytes=5-"}
    other = f"http://other.test:{server.port}/whole"
    get(server.url(f"/redirect?to={other}"), look_up=dns, headers=sent)
    first, second = server.asked
    assert first.headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in second.headers
    assert second.headers["Range"] == "bytes=5-"


def test_post_sends_its_body_and_gets_the_redirect_itself(server):
    async def act():
        url = server.url("/redirect?to=http://127.0.0.2/")
        async with outbound.call(url, method="POST", body=b"{}", limits=LIMITS) as answer:
            return answer.status, await answer.beginning(10)

    assert asyncio.run(act()) == (302, b"")
    assert (server.asked[0].method, server.asked[0].body) == ("POST", b"{}")


def test_beginning_of_an_endless_answer_is_read_and_no_more(server):
    async def act():
        async with outbound.call(server.url("/endless"), limits=LIMITS) as answer:
            return await answer.beginning(1000)

    assert asyncio.run(act()) == b"\0" * 1000


def test_endless_answer_is_too_large(server):
    with pytest.raises(outbound.TooLarge):
        get(server.url("/endless"))


def test_silent_server_is_ended_by_the_clock(server):
    with pytest.raises(outbound.TooSlow, match=r"within 0\.2 seconds"):
        get(server.url("/silent"), limits=Limits(max_bytes=10, total_seconds=0.2))
    with pytest.raises(outbound.Stalled):
        get(server.url("/silent"), limits=Limits(max_bytes=10, total_seconds=30, idle_seconds=0.2))


def test_clock_runs_on_while_the_answer_is_read(server):
    with pytest.raises(outbound.TooSlow):
        get(server.url("/half"), limits=Limits(max_bytes=10**9, total_seconds=0.5))


def test_time_out_of_the_caller_is_the_callers(server):
    async def act():
        async with outbound.call(server.url("/whole"), limits=LIMITS):
            raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(act())


def test_answer_that_breaks_off_is_broken(server):
    with pytest.raises(outbound.Broken):
        get(server.url("/cut?bytes=1000"))


def test_server_that_is_not_there_is_unreachable(server, settings):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings.ALLOWED_PRIVATE_ADDRESSES = [address]
        with pytest.raises(outbound.Unreachable):
            get(f"http://{address}/")
        with pytest.raises(outbound.Unreachable):
            get(f"https://{address}/")


def test_plain_http_where_tls_is_asked_for_is_unreachable(server):
    with pytest.raises(outbound.Unreachable, match="encryption"):
        get(f"https://{server.socket}/whole")


@pytest.fixture
def tls_server(settings, tmp_path):
    """A server with a certificate that nobody vouches for. Yields its port, and the names that clients asked it for."""
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(self_signed("talks.test"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    names = []
    context.sni_callback = lambda _, name, __: names.append(name)

    def shake_hands(listening):
        connection, _ = listening.accept()
        with connection, contextlib.suppress(ssl.SSLError, OSError):
            context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        settings.ALLOWED_PRIVATE_ADDRESSES = [f"127.0.0.1:{port}"]
        thread = threading.Thread(target=shake_hands, args=(listening,))
        thread.start()
        yield port, names
        thread.join()


def self_signed(name):
    """Return a key and a certificate in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def test_tls_is_asked_for_by_name_at_the_address_that_was_judged_and_checked(tls_server):
    async def dns(host):
        return ["127.0.0.1"]

    port, names = tls_server
    with pytest.raises(outbound.Unreachable, match="certificate"):
        get(f"https://talks.test:{port}/", look_up=dns)
    assert names == ["talks.test"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no"), outbound.UnknownHost),
        (socket.gaierror(socket.EAI_AGAIN, "later"), outbound.Unreachable),
    ],
)
def test_name_that_is_unknown_differs_from_a_resolver_that_is_silent(fault, error):
    async def broken_dns(host):
        raise fault

    with pytest.raises(error):
        get("http://nowhere.test/", look_up=broken_dns)


def test_host_without_an_address_is_unknown():
    async def empty_dns(host):
        return []

    with pytest.raises(outbound.UnknownHost):
        get("http://nowhere.test/", look_up=empty_dns)


def test_setting_allows_everything_or_one_address(settings):
    settings.ALLOWED_PRIVATE_ADDRESSES = ["*"]
    assert str(outbound.parse("http://10.0.0.1:9000/")) == "http://10.0.0.1:9000/"
    settings.ALLOWED_PRIVATE_ADDRESSES = ["[::1]:9000"]
    assert str(outbound.parse("http://[::1]:9000/")) == "http://[::1]:9000/"
    settings.ALLOWED_PRIVATE_ADDRESSES = []
    with pytest.raises(AddressRefused):
        outbound.parse("http://10.0.0.1/")
