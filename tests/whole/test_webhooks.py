"""Webhooks of the running product: received by the code of the docs as it stands, and by servers that misbehave.

The deliverer is killed while it sends: the receiver gets the webhook again, with the same id.
"""

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import product
from tests.clients import Node
from tests.conftest import AUDIO
from tests.product import Product
from tests.whole import customer
from tests.whole.customer import processes
from voxsite import guides

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

COMMANDS = {"Python": [sys.executable, "receiver.py"], "Node": ["node", "receiver.mjs"]}
SECONDS = 90
TRANSCRIBEAPI = next(guide for guide in guides.GUIDES if guide.slug == "transcribeapi")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("webhooks")
    with product.running(folder, VOXSITE_ALLOW_PRIVATE_ADDRESSES="on") as running:
        yield running


@pytest.fixture(scope="module")
def key(site: Product) -> str:
    return site.new_key()


class Receiver:
    """A customer's server whose answers the test decides. received: (path, headers, body) of each request."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Callable[[], int] = lambda: 204
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                try:
                    self.send_response(outer.answer())
                    self.end_headers()
                except ConnectionError:
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def wait_for(question: Callable[[], Any], *, seconds: float = SECONDS) -> None:
    customer.wait_for(question, seconds=seconds, what="what was waited for did not come")


# 16 KB of text, in the largest values that are accepted.
LARGE_METADATA = json.dumps({f"n{number}": "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 340 for number in range(16)})


def order(site: Product, key: str, url: str, **fields: str) -> str:
    """Order a transcription and return its id."""
    with (AUDIO / "sentence-slt.wav").open("rb") as file:
        answer = requests.post(
            f"{site.address}/v1/transcribe",
            headers={"X-API-Key": key},
            files={"file": file},
            data={"webhook_url": url, **fields},
            timeout=30,
        )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


def attempts_of(site: Product, job_id: str) -> list[tuple[Any, ...]]:
    """Return (fault, status) of each attempt, as the log has them."""
    query = (
        "SELECT a.fault, a.status FROM transcription_deliveryattempt a JOIN transcription_delivery d"
        " ON d.id = a.delivery_id WHERE d.job_id = ? ORDER BY a.number"
    )
    return site.rows(query, job_id.replace("-", ""))


def test_job_is_received_by_a_server_of_ones_own(site: Product, key: str, receiver: Receiver) -> None:
    job_id = order(site, key, receiver.url)
    wait_for(lambda: len(receiver.received) == 1)
    ((_, _, body),) = receiver.received
    assert json.loads(body)["data"]["id"] == job_id
    wait_for(lambda: attempts_of(site, job_id) == [("", 204)])
    result = requests.get(json.loads(body)["data"]["result_url"], headers={"X-API-Key": key}, timeout=10)
    assert result.json()["job_id"] == job_id


def order_at_transcribeapi(site: Product, key: str, url: str) -> str:
    with (AUDIO / "sentence-slt.wav").open("rb") as file:
        answer = requests.post(
            f"{site.address}/transcribeapi/v1/transcribe",
            headers={"Authorization": f"Bearer {key}"},
            files={"file": file},
            data={"webhook_url": url},
            timeout=120,
        )
    assert answer.status_code in {200, 202}, answer.text
    return str(answer.json()["job_id"])


@dataclass(frozen=True)
class Form:
    """A published form of webhooks. code: (site's address, id of the organization) -> code of servers by language."""

    order: Callable[[Product, str, str], str]
    code: Callable[[str, str], Mapping[str, str]]
    signature: str
    timestamp: str


FORMS = {
    "standard": Form(
        order,
        lambda site_url, organization_id: dict(guides.receivers(site_url=site_url, organization_id=organization_id)),
        "webhook-signature",
        "webhook-timestamp",
    ),
    "transcribeapi": Form(
        order_at_transcribeapi,
        lambda site_url, organization_id: dict(
            TRANSCRIBEAPI.shown_for(site_url=site_url, key="", organization_id=organization_id).receivers
        ),
        "x-transcribeapi-signature",
        "x-transcribeapi-timestamp",
    ),
}


@pytest.mark.parametrize("language", COMMANDS)
@pytest.mark.parametrize("name", FORMS)
def test_code_of_the_docs_receives_and_refuses(
    site: Product, key: str, receiver: Receiver, node: Node, tmp_path: Path, name: str, language: str
) -> None:
    form, command = FORMS[name], COMMANDS[language]
    # What is genuine is found out by a server that takes everything.
    form.order(site, key, receiver.url)
    wait_for(lambda: len(receiver.received) == 1)
    _, headers, body = receiver.received[0]
    code = form.code(site.address, json.loads(body)["organization_id"])[language]
    (tmp_path / command[1]).write_text(code)
    port = product.free_port()
    printed = (tmp_path / "printed").open("w")
    running = subprocess.Popen(
        command, cwd=tmp_path, env={**node.environment, "PORT": str(port)}, stdout=printed, stderr=subprocess.PIPE
    )
    try:

        def post(body: bytes, changed: Mapping[str, str] | None = None) -> int:
            sent = {name: headers[name] for name in headers if name.startswith(("webhook-", "x-transcribeapi-"))}
            sent |= changed or {}
            return requests.post(f"http://127.0.0.1:{port}/", data=body, headers=sent, timeout=20).status_code

        def listens() -> bool:
            try:
                return requests.post(f"http://127.0.0.1:{port}/", data=b"{}", timeout=20).status_code == 400
            except requests.ConnectionError:
                assert running.poll() is None, running.stderr
                return False

        wait_for(listens)
        with socket.create_connection(("127.0.0.1", port)) as leaver:
            leaver.sendall(b"POST / HTTP/1.1\r\nHost: receiver\r\nContent-Length: 100\r\n\r\nabc")
        assert post(body) == 204
        assert post(body) == 204, "the same again is accepted, and not done again"
        assert post(body.replace(b"completed", b"Completed")) == 400
        assert post(body, {form.timestamp: str(int(headers[form.timestamp]) - 1)}) == 400
        assert post(body, {form.signature: "v1a,AAAA nonsense v1,a"}) == 400
        job_id = form.order(site, key, f"http://127.0.0.1:{port}/")
        wait_for(lambda: job_id in (tmp_path / "printed").read_text())
        lines = (tmp_path / "printed").read_text().splitlines()
        assert [line.split()[0].rpartition(".")[2] for line in lines] == ["completed"] * 2
        # The webhook of another customer, signed with the same keys.
        form.order(site, site.new_key(owner=f"mallory-{name}-{language}@example.com"), receiver.url)
        wait_for(lambda: len(receiver.received) == 2)
        headers = receiver.received[1][1]
        assert post(receiver.received[1][2]) == 400
    finally:
        running.kill()
        running.wait()
        assert running.stderr is not None
        running.stderr.close()
        printed.close()


def test_receiver_that_sleeps_for_a_minute_is_cut_off_and_asked_again(
    site: Product, key: str, receiver: Receiver
) -> None:
    done = threading.Event()

    def sleep() -> int:
        if len(receiver.received) == 1:
            done.wait(60)
        return 204

    receiver.answer = sleep
    job_id = order(site, key, receiver.url)
    wait_for(lambda: len(receiver.received) == 1)
    began = time.monotonic()
    # Meanwhile others are served.
    quick = Receiver()
    quick_id = order(site, key, quick.url)
    wait_for(lambda: attempts_of(site, quick_id) == [("", 204)])
    assert attempts_of(site, job_id) == [("", None)], "it still sleeps"
    quick.server.shutdown()
    quick.server.server_close()
    wait_for(lambda: attempts_of(site, job_id) == [("timeout", None), ("", 204)])
    print(f"cut off and accepted {time.monotonic() - began:.0f} s after it began to sleep")
    assert len({headers["webhook-id"] for _, headers, _ in receiver.received}) == 1
    done.set()


class SlowReceiver:
    """A server that misbehaves on its first connection, and accepts what comes on all others."""

    def __init__(self, misbehave: Callable[[socket.socket, threading.Event], None]) -> None:
        self.is_over = threading.Event()
        self.connections = 0
        self._misbehave = misbehave
        self._socket = socket.create_server(("127.0.0.1", 0))
        # A small buffer: what the sender does not see read waits at its side.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/hook"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.is_over.set()
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                act = self._misbehave if self.connections == 1 else self._accept
                threading.Thread(target=self._run, args=(act, connection), daemon=True).start()

    def _run(self, act: Callable[[socket.socket, threading.Event], None], connection: socket.socket) -> None:
        with suppress(OSError), connection:
            act(connection, self.is_over)

    @staticmethod
    def _accept(connection: socket.socket, _: threading.Event) -> None:
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
        missing = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(body)  # type: ignore[index]
        while missing > 0:
            missing -= len(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


def never_reads(_: socket.socket, is_over: threading.Event) -> None:
    is_over.wait(300)


def reads_a_byte_a_second(connection: socket.socket, is_over: threading.Event) -> None:
    while not is_over.wait(1) and connection.recv(1):
        pass


def answers_a_byte_a_second(connection: socket.socket, is_over: threading.Event) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 300:
        if is_over.wait(1):
            return
        connection.sendall(bytes([byte]))


@pytest.mark.parametrize("misbehave", [never_reads, reads_a_byte_a_second, answers_a_byte_a_second])
def test_receiver_that_is_slow_is_cut_off_and_delays_nobody(
    site: Product, key: str, receiver: Receiver, misbehave: Callable[[socket.socket, threading.Event], None]
) -> None:
    slow = SlowReceiver(misbehave)
    try:
        # The metadata comes back in the webhook: it is larger than what the receiver's side takes unread.
        job_id = order(site, key, slow.url, metadata=LARGE_METADATA)
        wait_for(lambda: slow.connections == 1)
        began = time.monotonic()
        quick_id = order(site, key, receiver.url)
        wait_for(lambda: attempts_of(site, quick_id) == [("", 204)])
        assert attempts_of(site, job_id) == [("", None)], "it is still slow"
        wait_for(lambda: attempts_of(site, job_id) == [("timeout", None), ("", 204)])
        print(f"{misbehave.__name__}: cut off and accepted {time.monotonic() - began:.0f} s after it was connected")
    finally:
        slow.close()


def test_webhook_of_a_killed_deliverer_comes_again_with_the_same_id(
    site: Product, key: str, receiver: Receiver
) -> None:
    done = threading.Event()

    def answer() -> int:
        if len(receiver.received) == 1:
            done.wait(SECONDS)
        return 204

    receiver.answer = answer
    job_id = order(site, key, receiver.url)
    wait_for(lambda: len(receiver.received) == 1)
    (deliverer,) = processes(site, "deliverer")
    deliverer.kill()
    done.set()
    wait_for(lambda: attempts_of(site, job_id) == [("interrupted", None), ("", 204)], seconds=SECONDS + 60)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.received}) == 1
    assert len({body for _, _, body in receiver.received}) == 1
