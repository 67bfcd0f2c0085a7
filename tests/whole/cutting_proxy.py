"""Connections that break: they pass requests to a site, and are cut off before the first byte of the answer."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

READ_BYTES = 65_536


@contextmanager
def cutting(address: str, *, answers: int) -> Iterator[str]:
    """Yield an address that leads to the site. So many answers are cut off once the site has begun to send them."""
    with _leading_to(address, left=[answers], connections=[]) as here:
        yield here


@contextmanager
def breaking(address: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield an address that leads to the site, and a function that cuts all connections of this moment."""
    connections: list[socket.socket] = []

    def cut() -> None:
        while connections:
            with suppress(OSError):
                connections.pop().shutdown(socket.SHUT_RDWR)

    with _leading_to(address, left=[0], connections=connections) as here:
        yield here, cut


@contextmanager
def _leading_to(address: str, *, left: list[int], connections: list[socket.socket]) -> Iterator[str]:
    """Yield an address that leads to the site. left: how many answers are cut off. connections: gets the open ones."""
    site = urlsplit(address)
    assert site.hostname is not None, "the site has an address"
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # The test is over.
            upstream = socket.create_connection((site.hostname, site.port))
            connections.extend((client, upstream))
            threading.Thread(target=_pass, args=(client, upstream), daemon=True).start()
            threading.Thread(target=_answer, args=(client, upstream, left), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _pass(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(READ_BYTES):
            target.sendall(data)
    except OSError:
        pass  # One side is closed.


def _answer(client: socket.socket, upstream: socket.socket, left: list[int]) -> None:
    try:
        data = upstream.recv(READ_BYTES)
        if left[0] > 0:
            left[0] -= 1
        else:
            while data:
                client.sendall(data)
                data = upstream.recv(READ_BYTES)
    except OSError:
        pass
    for each in (client, upstream):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
