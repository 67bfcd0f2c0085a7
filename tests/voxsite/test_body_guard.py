"""The body guard around a real Django behind the real server, met by real clients.

This file is also the server: `python test_body_guard.py PORT TEMPORARY_FOLDER`.
"""

import asyncio
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from accounts.gate.body_rate import BodyRate
from voxsite.body_guard import BodyGuard

pytestmark = pytest.mark.enable_socket

MEBIBYTE = 1024 * 1024
PROJECT_DIR = Path(__file__).resolve().parent.parent.parent
KNOWN = {"X-API-Key": "known"}
HUGE_BYTES = 500 * MEBIBYTE
HEAD = f"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: {HUGE_BYTES}\r\n\r\n".encode()


async def is_known(scope) -> bool:
    return (b"x-api-key", b"known") in scope["headers"]


def refusal(scope, http_status, error_type, message) -> tuple[str, bytes]:
    return "application/json", json.dumps({"error": {"type": error_type, "message": message}}).encode()


class Server:
    """The server's process, and what its refusals must leave unchanged."""

    def __init__(self, port: int, folder: Path, process: subprocess.Popen) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/count"
        self.folder = folder
        self.process = psutil.Process(process.pid)

    def memory_bytes(self) -> int:
        return self.process.memory_info().rss

    def spooled_files(self) -> list[str]:
        """Spooled files have no name: only the process's descriptors show them."""
        opened = [str(entry.readlink()) for entry in Path(f"/proc/{self.process.pid}/fd").iterdir()]
        return [path for path in opened if path.startswith(str(self.folder))]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("spool")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, __file__, str(port), str(folder)],
        cwd=PROJECT_DIR,
        env={**os.environ, "PYTHONPATH": str(PROJECT_DIR)},
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)
    yield Server(port, folder, process)
    process.terminate()
    process.wait(timeout=60)


class Zeros:
    """A file of zeros that knows how much of it was read."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.read_bytes = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        while part := self.read(65536):
            yield part

    def read(self, size: int = -1) -> bytes:
        left = self.size - self.read_bytes
        size = left if size < 0 else min(size, left)
        self.read_bytes += size
        return bytes(size)


def without_length(size: int) -> Iterator[bytes]:
    """A body that requests sends in chunks, because it cannot know its length."""
    yield from Zeros(size)


def send_all(connection: socket.socket, parts: Iterable[bytes]) -> None:
    for part in parts:
        connection.sendall(part)


def error_of(response: requests.Response) -> dict:
    return response.json()["error"]


def test_small_body_needs_no_key(server):
    response = requests.post(server.url, data=b"x" * 100_000, timeout=60)
    assert (response.status_code, response.json()) == (200, 100_000)


def test_known_caller_may_send_much(server):
    response = requests.post(server.url, data=Zeros(30 * MEBIBYTE), headers=KNOWN, timeout=30)
    assert (response.status_code, response.json()) == (200, 30 * MEBIBYTE)


@pytest.mark.long
def test_known_caller_may_send_some_without_length(server):
    response = requests.post(server.url, data=without_length(10 * MEBIBYTE), headers=KNOWN, timeout=30)
    assert (response.status_code, response.json()) == (200, 10 * MEBIBYTE)


def test_huge_body_of_stranger_is_refused_before_it_is_read(server):
    before = server.memory_bytes()
    body = Zeros(HUGE_BYTES)
    response = requests.post(server.url, data=body, timeout=30)
    assert response.status_code == 401
    assert error_of(response)["type"] == "invalid_api_key"
    assert response.headers["Connection"] == "close"
    assert response.headers["X-Request-Id"] == "req_test"
    # What the client got rid of lies in the two sockets' buffers.
    assert body.read_bytes < 20 * MEBIBYTE
    assert server.memory_bytes() - before < 10 * MEBIBYTE
    assert server.spooled_files() == []


@pytest.mark.long
def test_refusal_reaches_clients_that_only_send(server):
    """Twenty at once: whether an answer survives a closed connection is a matter of timing."""

    def upload(_) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(HEAD)
            # Not ConnectionResetError: clients read the answer after this error, and not after the other.
            with pytest.raises(BrokenPipeError):
                send_all(connection, (bytes(MEBIBYTE) for _ in range(HUGE_BYTES // MEBIBYTE)))
            return connection.recv(65536)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(upload, range(20)))
    assert all(answer.startswith(b"HTTP/1.1 401 ") for answer in answers)


def test_client_that_waits_for_100_is_refused_without_it(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = (
            f"POST /count HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {HUGE_BYTES}\r\n\r\n"
        )
        connection.sendall(head.encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
@pytest.mark.parametrize("options", [[], ["-H", "Expect:"]], ids=["expects 100", "sends at once"])
def test_curl_shows_the_refusal(server, tmp_path, options):
    upload = tmp_path / "upload"
    with upload.open("wb") as file:
        file.truncate(HUGE_BYTES)
    command = ["curl", "-sS", "-w", " %{http_code} %{size_upload}", *options, "-F", f"file=@{upload}", server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    answer, status, sent = done.stdout.rsplit(" ", 2)
    assert status == "401", done.stderr
    assert json.loads(answer)["error"]["type"] == "invalid_api_key"
    assert int(sent) < 20 * MEBIBYTE


def test_too_large_an_upload_is_refused_from_its_announcement(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", "/count")
    connection.putheader("Content-Length", str(2 * 1024 * MEBIBYTE + MEBIBYTE + 1))
    connection.putheader("X-API-Key", "known")
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"]["type"] == "body_too_large"
    connection.close()


@pytest.mark.long
def test_much_without_length_is_refused_while_it_comes(server):
    before = server.memory_bytes()
    response = requests.post(server.url, data=without_length(HUGE_BYTES), headers=KNOWN, timeout=60)
    assert response.status_code == 413
    assert "Content-Length" in error_of(response)["message"]
    assert server.memory_bytes() - before < 20 * MEBIBYTE
    assert server.spooled_files() == []


def test_stranger_cannot_hide_the_length(server):
    response = requests.post(server.url, data=without_length(HUGE_BYTES), timeout=30)
    assert response.status_code == 401
    assert server.spooled_files() == []


def test_server_answers_on_after_refusals(server):
    assert requests.get(server.url, timeout=60).json() == 0


def test_endless_head_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"GET /count HTTP/1.1\r\nHost: localhost\r\n")
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            send_all(connection, (b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(100_000)))
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_silent_client_is_given_up():
    """The app sees the client leave, and the client hears why."""
    seen = []
    sent = []

    async def app(scope, receive, send):
        seen.append(await receive())
        seen.append(await receive())

    parts = iter([{"type": "http.request", "body": b"x", "more_body": True}])

    async def receive():
        if part := next(parts, None):
            return part
        return await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    guard = BodyGuard(app, is_known=is_known, refusal=refusal, idle_seconds=0.05)
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"10")]}
    asyncio.run(guard(scope, receive, send))
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]
    assert sent[0]["status"] == 408


def test_dripping_client_is_given_up():
    """A byte now and then is no pause, and would hold a connection for ever."""
    sent = []

    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    async def receive():
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        sent.append(message)

    guard = BodyGuard(app, is_known=is_known, refusal=refusal, idle_seconds=0.1)
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"1000")]}
    asyncio.run(asyncio.wait_for(guard(scope, receive, send), timeout=60))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize(("piece_bytes", "status"), [(1, 408), (20_000, 200)])
def test_known_client_that_drips_a_large_body_is_given_up(piece_bytes, status):
    """It has a key, and so no time by which all must have come. A slow line is no drip."""
    sent = []

    async def app(scope, receive, send):
        while (message := await receive())["type"] != "http.disconnect":
            if not message["more_body"]:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                return

    left = [50]

    async def receive():
        await asyncio.sleep(0.01)
        left[0] -= 1
        return {"type": "http.request", "body": bytes(piece_bytes), "more_body": left[0] > 0}

    async def send(message):
        sent.append(message)

    guard = BodyGuard(
        app,
        is_known=is_known,
        refusal=refusal,
        rate=lambda: BodyRate(min_bytes=1000, window_seconds=0.1),
    )
    headers = [(b"content-length", b"1000000"), (b"x-api-key", b"known")]
    asyncio.run(guard({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive, send))
    assert sent[0]["status"] == status


@pytest.mark.long
@pytest.mark.parametrize(("headers", "status"), [([], 401), ([(b"x-api-key", b"known")], 200)])
def test_slow_sender_of_unknown_size_needs_a_key(headers, status):
    """A known program may send what a microphone hears. Anybody else would hold a connection for ever."""
    sent = []

    async def app(scope, receive, send):
        while (message := await receive())["type"] != "http.disconnect":
            if not message["more_body"]:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                return

    async def act():
        ends_at = asyncio.get_running_loop().time() + 1.5

        async def receive():
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b"x", "more_body": asyncio.get_running_loop().time() < ends_at}

        async def send(message):
            sent.append(message)

        guard = BodyGuard(app, is_known=is_known, refusal=refusal, idle_seconds=1)
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"transfer-encoding", b"x"), *headers]}
        await guard(scope, receive, send)

    asyncio.run(act())
    assert sent[0]["status"] == status


@pytest.mark.parametrize(("room", "status"), [(True, 200), (False, 503)])
def test_large_body_needs_room(room, status):
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    guard = BodyGuard(app, is_known=is_known, refusal=refusal, has_disk_space=lambda _: room)
    headers = [(b"content-length", b"1000000"), (b"x-api-key", b"known")]
    asyncio.run(guard({"type": "http", "method": "POST", "path": "/", "headers": headers}, None, send))
    assert sent[0]["status"] == status


@pytest.mark.parametrize(("room_bytes", "status"), [(400 * MEBIBYTE, 200), (150 * MEBIBYTE, 503)])
def test_large_body_of_unknown_size_needs_room_as_it_grows(room_bytes, status):
    sent, checked = [], []
    left = [200]  # chunks of 1 MiB

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        left[0] -= 1
        return {"type": "http.request", "body": bytes(MEBIBYTE), "more_body": left[0] > 0}

    async def send(message):
        sent.append(message)

    def has_disk_space(size):
        checked.append(size // MEBIBYTE)
        return size < room_bytes

    guard = BodyGuard(
        app, is_known=is_known, refusal=refusal, has_disk_space=has_disk_space, unsized_bytes=500 * MEBIBYTE
    )
    headers = [(b"transfer-encoding", b"chunked"), (b"x-api-key", b"known")]
    asyncio.run(guard({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive, send))
    assert sent[0]["status"] == status
    assert checked == [64, 128, 192]
    # Nothing more is read of a body for which there is no room.
    assert left[0] == (0 if status == 200 else 200 - 192)


def test_answer_of_an_app_that_ignores_the_end_is_dropped():
    sent = []

    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        return {"type": "http.request", "body": bytes(100), "more_body": True}

    async def send(message):
        sent.append(message)

    guard = BodyGuard(app, is_known=is_known, refusal=refusal, unsized_bytes=1000)
    headers = [(b"transfer-encoding", b"chunked"), (b"x-api-key", b"known")]
    asyncio.run(guard({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive, send))
    assert [message.get("status") for message in sent] == [413, None]


def _serve(port: int, folder: str) -> None:
    import uvicorn
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, JsonResponse
    from django.urls import path

    from voxsite.serve.http_protocol import HttpProtocol

    def count(request: HttpRequest) -> JsonResponse:
        return JsonResponse(sum(len(part) for part in iter(lambda: request.read(MEBIBYTE), b"")), safe=False)

    class Urls:
        urlpatterns = [path("count", count)]

    settings.configure(ROOT_URLCONF=Urls, SECRET_KEY="x", ALLOWED_HOSTS=["*"], FILE_UPLOAD_TEMP_DIR=folder, USE_TZ=True)
    guard = BodyGuard(get_asgi_application(), is_known=is_known, refusal=refusal, request_id=lambda _: "req_test")
    uvicorn.run(guard, port=port, http=HttpProtocol, loop="uvloop", lifespan="off", log_level="warning")


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2])
