"""Clients that take nothing of their answer, before the real server.

This file is also the server: `python test_http_protocol.py PORT`.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.product import PROJECT_DIR, free_port

pytestmark = pytest.mark.enable_socket

STALL_SECONDS = 1
LARGE_BYTES = 2 * 1024 * 1024
ROOMY_BYTES = 6 * 1024 * 1024
PATIENCE_SECONDS = 30


class Server:
    """The running server."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port = port
        self.process = psutil.Process(process.pid)

    def ask(self, path: str) -> socket.socket:
        """Return a connection on which a request was sent and nothing read, with little room for the answer."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", self.port))
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return connection

    def holds(self, connection: socket.socket) -> bool:
        """Tell whether the server still has its end of a connection open."""
        ours = connection.getsockname()[1]
        return any(each.raddr and each.raddr.port == ours for each in self.process.net_connections("tcp"))


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read_through(connection: socket.socket, end: bytes) -> None:
    received = b""
    while not received.endswith(end):
        piece = connection.recv(65536)
        assert piece, received
        received += piece


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR), "VOXSITE_WEB_STALL_SECONDS": str(STALL_SECONDS)}
    process = subprocess.Popen([sys.executable, __file__, str(port)], cwd=PROJECT_DIR, env=environment)

    def listens() -> bool:
        assert process.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    try:
        wait(listens)
        yield Server(port, process)
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.long
@pytest.mark.parametrize("path", ["endless", "large", "tail"])
def test_client_that_takes_nothing_is_hung_up_on(server, path):
    with server.ask(path) as connection:
        wait(lambda: server.holds(connection))
        wait(lambda: not server.holds(connection))
        # What the systems held between the two still comes, and then the end.
        received = b""
        try:
            while piece := connection.recv(1024 * 1024):
                received += piece
        except ConnectionResetError:
            pass
        assert received.startswith(b"HTTP/1.1 200 ")
        assert not received.endswith(b"\r\n0\r\n\r\n")
        assert len(received) < LARGE_BYTES


@pytest.mark.slow
def test_slow_reader_has_all_the_time_that_it_needs(server):
    with server.ask("large") as connection:
        begun, received = time.monotonic(), b""
        while len(received) < LARGE_BYTES:
            time.sleep(STALL_SECONDS / 4)
            piece = connection.recv(256 * 1024)
            assert piece, "it was hung up on"
            received += piece
        # Or it was not slow.
        assert time.monotonic() - begun > 2 * STALL_SECONDS


@pytest.mark.slow
def test_slow_reader_of_what_the_system_has_taken_has_it_too(server):
    """The server's system takes a megabyte at once, and then nothing until the client has read most of that."""
    with server.ask("roomy") as connection:
        received = 0
        while received < ROOMY_BYTES:
            time.sleep(STALL_SECONDS / 8)
            piece = connection.recv(64 * 1024)
            assert piece, "it was hung up on"
            received += len(piece)


@pytest.mark.long
@pytest.mark.parametrize("field", ["GET /small?{} HTTP/1.1", "GET /small HTTP/1.1\r\nX: {}"])
def test_head_that_is_too_large_is_refused_however_it_comes(server, field):
    """In one piece, its end is there before its length is looked at."""
    head = field.format("x" * 70_000) + "\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall((field.format("x" * 30_000) + "\r\nHost: localhost\r\n\r\n").encode() * 3)
        received = b""
        while received.count(b"small") < 3:  # One piece may have several answers.
            piece = connection.recv(65536)
            assert piece, received
            received += piece


@pytest.mark.long
def test_connection_that_waits_for_the_next_request_is_not_touched(server):
    with server.ask("small") as connection:
        read_through(connection, b"small")
        time.sleep(2 * STALL_SECONDS)
        connection.sendall(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n")
        read_through(connection, b"small")


def test_request_that_follows_a_broken_connection_finds_it_lost(server):
    """Whatever the task of the first request has noticed by then: it sleeps."""
    for how in (socket.SHUT_WR, socket.SHUT_RDWR):
        with server.ask("hold") as held:
            assert held.recv(65536)
            with server.ask("held") as connection:
                read_through(connection, b"open")
            held.shutdown(how)
            with server.ask("held") as connection:
                read_through(connection, b"lost")


async def _app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    transport = send.__self__.transport
    path = scope["path"].strip("/")
    if path == "hold":
        _held.append(scope[CONNECTION])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.Event().wait()
    if path != "roomy":
        # Little room in the system: megabytes on this way would be nobody's to take.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    whole = {"small": b"small", "large": b"x" * LARGE_BYTES, "roomy": b"x" * ROOMY_BYTES}.get(path)
    if path == "held":
        whole = b"lost" if _held[-1].is_lost else b"open"
    headers = [(b"content-length", b"%d" % len(whole))] if whole else [(b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if whole:
        await send({"type": "http.response.body", "body": whole})
        return
    # "tail": so little waits that the server does not stop writing.
    while path == "endless" or not transport.get_write_buffer_size():
        if transport.is_closing():
            return
        await send({"type": "http.response.body", "body": b"x" * 8192, "more_body": True})
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    import asyncio

    import uvicorn

    # As the application reads what the server says.
    from accounts.gate.later import CONNECTION, Connection
    from voxsite.serve.http_protocol import HttpProtocol

    _held: list[Connection] = []
    uvicorn.run(
        _app,
        port=int(sys.argv[1]),
        http=HttpProtocol,
        loop="uvloop",
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
