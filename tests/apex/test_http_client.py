"""The client of upstreams against a server that writes raw bytes, so that each peculiarity is exactly as it says."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import zlib
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from apex.http_client import MAX_HEAD_BYTES, BrokenConnection, Client

pytestmark = pytest.mark.enable_socket
OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Answers each request on a connection with the next of some raw answers, piece by piece.

    An answer is a list of pieces; None in it closes the connection.
    """

    def __init__(self, answers):
        self.answers = list(answers)
        self.requests = []
        self.connection_count = 0
        self.closed_count = 0
        self.was_asked = asyncio.Event()
        self.was_closed = asyncio.Event()
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    async def handle(self, reader, writer):
        self.connection_count += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append((head.decode(), await reader.readexactly(size)))
                self.was_asked.set()
                for piece in self.answers.pop(0):
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    # The pieces arrive one by one.
                    await asyncio.sleep(0.01)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed_count += 1
            self.was_closed.set()
            writer.close()


@asynccontextmanager
async def exchange(*answers, tls=None, client_tls=None):
    server = Server(answers)
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    client = Client(user_agent="tests", tls=client_tls)
    try:
        yield server, client
    finally:
        await client.close()
        listening.close()


def post(client, url, *, body=b"{}", headers=None):
    return client.post(url, body=body, headers=headers or {}, connect_seconds=5)


async def read_all(response):
    parts = []
    while part := await response.read_any():
        parts.append(part)
    return b"".join(parts)


async def ask(client, url):
    response = await post(client, url)
    return response.status, await read_all(response)


def answered(*answer):
    """Return (status, body) of one answer."""

    async def act():
        async with exchange(answer) as (server, client):
            return await asyncio.wait_for(ask(client, server.url), 30)

    return asyncio.run(act())


def with_length(body, *fields):
    return b"".join([OK, *(field + b"\r\n" for field in fields), b"Content-Length: %d\r\n\r\n" % len(body), body])


ANSWERS = {
    "with its length": [with_length(b"hello")],
    "byte by byte": [bytes([each]) for each in with_length(b"hello")],
    "in chunks": [OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"],
    "in broken chunks": [
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r",
        b"\nh",
        b"e\r\n3\r\nll",
        b"o\r\n0\r\n\r",
        b"\n",
    ],
    "in chunks with extensions and trailers": [
        OK + b"Transfer-Encoding: chunked\r\n\r\n5 ;a=b\r\nhello\r\n0\r\nX-Cost: 1\r\n\r\n"
    ],
    "until the connection ends": [OK + b"\r\nhel", b"lo", None],
    "by HTTP/1.0": [b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo", None],
    "after 100 and 103": [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + with_length(b"hello"),
    ],
    "with bare line ends": [OK.replace(b"\r", b"") + b"Content-Length: 5\n\nhello"],
    "in gzip": [with_length(zlib.compress(b"hello", wbits=31), b"Content-Encoding: gzip")],
    "in deflate": [with_length(zlib.compress(b"hello"), b"Content-Encoding: deflate")],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_body_is_read(name):
    assert answered(*ANSWERS[name]) == (200, b"hello")


BROKEN = {
    "nothing": [None],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "cut in the head": [OK + b"Content-Le", None],
    "cut in the body": [OK + b"Content-Length: 9\r\n\r\nhello", None],
    "cut in a chunk": [OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhello", None],
    "cut before the last chunk": [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", None],
    "a wrong chunk": [OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n"],
    "two lengths": [OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    "an upgrade": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"],
    "an endless head": [OK, *[b"X-Field: " + b"x" * 8000 + b"\r\n"] * (MAX_HEAD_BYTES // 8000 + 1)],
    "an unknown compression": [with_length(b"hello", b"Content-Encoding: br")],
    "no gzip": [with_length(b"hello", b"Content-Encoding: gzip")],
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_response_is_an_error(name):
    with pytest.raises((BrokenConnection, ConnectionError)):
        answered(*BROKEN[name])


def test_compressed_body_that_grows_too_large_is_an_error():
    bomb = zlib.compress(bytes(32 * 1024 * 1024), wbits=31)
    with pytest.raises(BrokenConnection, match="too large"):
        answered(with_length(bomb, b"Content-Encoding: gzip"))


def test_request_has_its_body_and_headers():
    async def act():
        async with exchange([with_length(b"")]) as (server, client):
            await post(client, server.url, body=b'{"a": 1}', headers={"Authorization": "Bearer k", "Accept": "text/x"})
            return server

    server = asyncio.run(act())
    head, body = server.requests[0]
    assert head.split("\r\n") == [
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: tests",
        "Authorization: Bearer k",
        "Accept: text/x",
        "Content-Length: 8",
        "",
        "",
    ]
    assert body == b'{"a": 1}'


def test_password_of_an_address_is_sent_as_a_header():
    async def act():
        async with exchange([with_length(b"")], [with_length(b"")]) as (server, client):
            await post(client, server.url.replace("//", "//me:secret@"))
            return server.requests[0][0]

    head = asyncio.run(act())
    assert "Authorization: Basic bWU6c2VjcmV0\r\n" in head
    assert "secret" not in head


def test_headers_are_found_in_lower_case_and_the_first_counts():
    async def act():
        async with exchange([with_length(b"", b"Retry-After: 3", b"RETRY-AFTER: 9")]) as (server, client):
            return (await post(client, server.url)).headers

    assert asyncio.run(act())["retry-after"] == "3"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http:///v1"])
def test_address_that_is_none_of_http_is_an_error(url):
    async def act():
        async with exchange() as (_, client):
            await post(client, url)

    with pytest.raises(OSError, match="address"):
        asyncio.run(act())


def test_header_with_a_line_end_is_not_sent():
    async def act():
        async with exchange() as (server, client):
            await post(client, server.url, headers={"Authorization": "Bearer k\r\nX-Other: 1"})

    with pytest.raises(OSError, match="line end"):
        asyncio.run(act())


def test_connection_is_used_again():
    async def act():
        async with exchange([with_length(b"one")], ANSWERS["in broken chunks"]) as (server, client):
            return [await ask(client, server.url), await ask(client, server.url), server.connection_count]

    assert asyncio.run(act()) == [(200, b"one"), (200, b"hello"), 1]


def test_requests_at_once_have_connections_of_their_own():
    async def act():
        async with exchange(*[[with_length(b"one")]] * 6) as (server, client):
            for _ in range(2):
                await asyncio.gather(*(ask(client, server.url) for _ in range(3)))
            return server.connection_count

    assert asyncio.run(act()) == 3


NOT_KEPT = {
    "the server closes": [with_length(b"one", b"Connection: close")],
    "the server speaks HTTP/1.0": [with_length(b"one").replace(b"1.1", b"1.0")],
    "something follows at once": [with_length(b"one") + b"HTTP/1.1 200 OK\r\n"],
    "something follows later": [with_length(b"one"), with_length(b"stolen")],
    "the connection was closed meanwhile": [with_length(b"one"), None],
}


@pytest.mark.parametrize("name", NOT_KEPT)
def test_connection_is_not_used_again(name):
    async def act():
        async with exchange(NOT_KEPT[name], [with_length(b"two")]) as (server, client):
            assert await ask(client, server.url) == (200, b"one")
            if "later" in name or "meanwhile" in name:
                await asyncio.wait_for(server.was_closed.wait(), 30)
                await asyncio.gather(*(connection.closed for connection in client._open))
            return await ask(client, server.url), server.connection_count

    assert asyncio.run(act()) == ((200, b"two"), 2)


def test_connection_that_was_idle_for_too_long_is_not_used_again(monkeypatch):
    async def act():
        async with exchange([with_length(b"one")], [with_length(b"two")]) as (server, client):
            await ask(client, server.url)
            later = asyncio.get_running_loop().time() + 31
            monkeypatch.setattr(client._loop, "time", lambda: later)
            return await ask(client, server.url), server.connection_count

    assert asyncio.run(act()) == ((200, b"two"), 2)


def test_stream_is_read_as_it_comes():
    async def act():
        answer = [OK + b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"]
        async with exchange(answer) as (server, client):
            response = await post(client, server.url)
            return [await response.read_any() for _ in range(3)]

    assert asyncio.run(act()) == [b"one", b"two", b""]


def test_closed_response_closes_its_connection():
    async def act():
        endless = [OK + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 10_000]
        async with exchange(endless, [with_length(b"two")]) as (server, client):
            response = await post(client, server.url)
            await response.read_any()
            response.close()
            await asyncio.wait_for(server.was_closed.wait(), 30)
            return await ask(client, server.url), server.connection_count

    assert asyncio.run(act()) == ((200, b"two"), 2)


def test_cancelled_request_closes_its_connection():
    async def act():
        async with exchange([b""]) as (server, client):
            waiting = asyncio.ensure_future(post(client, server.url))
            await asyncio.wait_for(server.was_asked.wait(), 30)
            waiting.cancel()
            await asyncio.wait_for(server.was_closed.wait(), 30)
            return server.closed_count

    assert asyncio.run(act()) == 1


def test_server_waits_while_nobody_reads():
    async def act():
        pieces = [b"%x\r\n" % 65536 + bytes(65536) + b"\r\n"] * 512
        async with exchange([OK + b"Transfer-Encoding: chunked\r\n\r\n", *pieces, b"0\r\n\r\n"]) as (server, client):
            response = await post(client, server.url)
            largest = 0
            received = 0
            while part := await response.read_any():
                received += len(part)
                largest = max(largest, len(part))
                await asyncio.sleep(0.001)
            return received, largest

    received, largest = asyncio.run(act())
    assert received == 512 * 65536
    # What is allowed to wait, and one more read of the socket.
    assert largest <= 128 * 1024 + 256 * 1024


def test_unread_response_stops_the_server():
    async def act():
        sent = 0

        async def handle(reader, writer):
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"\r\n")
            try:
                while sent < 64 * 1024 * 1024:
                    writer.write(bytes(65536))
                    await writer.drain()
                    sent += 65536
            except ConnectionError:
                pass
            finally:
                writer.close()

        listening = await asyncio.start_server(handle, "127.0.0.1", 0)
        client = Client(user_agent="tests")
        await post(client, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/")
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        await client.close()
        listening.close()
        return sent

    assert asyncio.run(act()) < 64 * 1024 * 1024


def test_unreachable_server_is_an_error():
    from tests.product import free_port

    async def act():
        async with exchange() as (_, client):
            await post(client, f"http://127.0.0.1:{free_port()}/")

    with pytest.raises(ConnectionRefusedError):
        asyncio.run(act())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return the context of a server at 127.0.0.1 with a certificate of its own, and that of a client who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "certificate").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    of_server.load_cert_chain(folder / "certificate", folder / "key")
    return of_server, ssl.create_default_context(cafile=folder / "certificate")


def test_https_is_spoken(certificate):
    of_server, trusting = certificate

    async def act():
        answers = [[with_length(b"one")], ANSWERS["in broken chunks"]]
        async with exchange(*answers, tls=of_server, client_tls=trusting) as (server, client):
            url = server.url.replace("http:", "https:")
            return [await ask(client, url), await ask(client, url), server.connection_count]

    assert asyncio.run(act()) == [(200, b"one"), (200, b"hello"), 1]


def test_unknown_certificate_is_refused(certificate):
    of_server, _ = certificate

    async def act():
        async with exchange([with_length(b"one")], tls=of_server) as (server, client):
            # The server's own complaint is none of this test's.
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            await post(client, server.url.replace("http:", "https:"))

    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(act())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connection_of_a_body_that_was_refused_unread_is_not_used_again(certificate, scheme):
    of_server, trusting = certificate if scheme == "https" else (None, None)
    asked = []

    async def act():
        async def refuse_first(reader, writer):
            writers.append(writer)
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            status = b"200 OK" if len(asked) == 2 else b"429 Too Many Requests"
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: 3\r\n\r\nend" % status)

        writers = []
        # It reads no more than so much.
        listening = await asyncio.start_server(refuse_first, "127.0.0.1", 0, ssl=of_server, limit=4096)
        client = Client(user_agent="tests", tls=trusting)
        url = f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        try:
            refused = await post(client, url, body=bytes(16 * 1024 * 1024))
            return [(refused.status, await read_all(refused)), await asyncio.wait_for(ask(client, url), 10)]
        finally:
            await client.close()
            for writer in writers:
                writer.close()
            listening.close()

    assert asyncio.run(act()) == [(429, b"end"), (200, b"end")]
    assert len(asked) == 2
