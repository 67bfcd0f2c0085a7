"""How fast a large file comes to a signed address, beside nginx's dav module, and what it costs the web process.

Usage: script/benchmark signed_uploads [--gb 5] [--turns 2] [--at-once 4] [--nginx /usr/sbin/nginx] [--folder FOLDER]

Starts the whole product with its embedded defaults, and nginx with one process, on one volume. In turns, one sender
puts the file to nginx, to a signed address whole, and to signed addresses in parts of 32 MiB, some at once. It is
sendfile() from 64 MiB of random bytes, again and again, so that it costs little. Before each turn, what the one before
has left to write is written to the disk. Then an upload is broken at 60 %, in the middle of a part, and goes on with
fresh addresses; the stored bytes are compared with those that were sent. The last lines say how much the memory of the
web process grew. Twice the size must be free.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from script.benchmarks.measuring import whole_site
from tests import product
from tests.product import Product

MEBIBYTE = 1024**2
BLOCK_BYTES = 64 * MEBIBYTE
BROKEN_AT = 0.6
BEGIN = """
import json
from accounts.models import Organization
from transcription.recordings import upload_targets, uploads

owner = Organization.objects.get(memberships__user__email={owner!r})
upload = uploads.begin(owner, name="large.wav", declared_bytes={declared})
target = upload_targets.instructions(upload, site_url={site!r})
parts, complete_url = getattr(target, "parts", ()), getattr(target, "complete_url", "")
print(json.dumps([str(upload.pk), getattr(target, "url", ""), parts, complete_url]))
"""
AGAIN = """
import json
from transcription.models import Upload
from transcription.recordings import upload_targets

target = upload_targets.instructions(Upload.objects.get(pk={upload!r}), site_url={site!r})
print(json.dumps([{upload!r}, "", target.parts, target.complete_url]))
"""
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{ listen 127.0.0.1:{port}; location / {{ root {folder}/files; dav_methods PUT; }} }}
}}
"""


class Sender:
    """Sends bytes of a file of so many bytes: a block of random ones, again and again."""

    def __init__(self, folder: Path, *, size: int) -> None:
        self.size = size
        self.block = os.urandom(BLOCK_BYTES)
        self._path = folder / "block"
        self._path.write_bytes(self.block)

    def put(self, url: str, *, first: int = 0, count: int | None = None, break_after: int | None = None) -> str:
        """Put bytes to the URL, and return the ETag. With break_after, close the connection after so many of them."""
        count = self.size - first if count is None else count
        address = urlsplit(url)
        head = (
            f"PUT {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {count}\r\n\r\n"
        )
        with (
            socket.create_connection((address.hostname, address.port or 80)) as connection,
            self._path.open("rb") as block,
        ):
            connection.sendall(head.encode())
            left = count if break_after is None else break_after
            position = first
            while left:
                offset = position % BLOCK_BYTES
                try:
                    sent = os.sendfile(connection.fileno(), block.fileno(), offset, min(left, BLOCK_BYTES - offset))
                except (BrokenPipeError, ConnectionResetError) as error:
                    # The server answered before it had the whole body.
                    raise AssertionError(
                        f"{count - left} of {count} bytes, then {self._received(connection)}"
                    ) from error
                left -= sent
                position += sent
            if break_after is not None:
                return ""
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = connection.recv(65536)
                assert piece, answer
                answer += piece
        lines = answer.decode().split("\r\n")
        assert lines[0].split()[1] in {"200", "201", "204"}, answer
        return next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("etag:")), "")

    @staticmethod
    def _received(connection: socket.socket) -> bytes:
        try:
            return connection.recv(65536)
        except ConnectionResetError:
            return b"a reset connection"

    def sha256(self) -> str:
        digest = hashlib.sha256()
        left = self.size
        while left:
            count = min(left, BLOCK_BYTES)
            digest.update(memoryview(self.block)[:count])
            left -= count
        return digest.hexdigest()


class Memory:
    """The memory of the web process while a block runs, in bytes."""

    def __init__(self, site: Product) -> None:
        self._processes = whole_site.processes(site, "web")
        self._stop = threading.Event()
        self.before = self._now()
        self.most = self.before

    def _now(self) -> int:
        return sum(process.memory_info().rss for process in self._processes if process.is_running())

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.most = max(self.most, self._now())

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.after = self._now()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=5)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--nginx", default=shutil.which("nginx") or "/usr/sbin/nginx")
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    size = int(chosen.gb * 1000**3)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        sender = Sender(folder, size=size)
        (folder / "site").mkdir()
        with nginx(folder / "nginx", binary=chosen.nginx) as dav, product.running(folder / "site") as site:
            sender_of = Signed(site, sender, at_once=chosen.at_once)
            sender_of.whole(size=BLOCK_BYTES)  # the first request of a process loads what it needs
            speeds: dict[str, list[float]] = {}
            with Memory(site) as memory:
                for _ in range(chosen.turns):
                    for kind, send in (
                        ("nginx", lambda: dav_put(sender, dav, folder)),
                        ("whole", sender_of.whole),
                        ("parts", sender_of.parts),
                    ):
                        os.sync()
                        speed = size / send() / 1e6
                        speeds.setdefault(kind, []).append(speed)
                        print(f"{kind:8} {speed:7.0f} MB/s", flush=True)
                        empty(site)
                sender_of.broken()
                empty(site)
            median = {kind: statistics.median(found) for kind, found in speeds.items()}
            for kind in ("whole", "parts"):
                share = median[kind] / median["nginx"]
                print(f"{kind}: {median[kind]:.0f} MB/s, {share:.2f} of nginx's {median['nginx']:.0f}")
            before, most, after = (value / MEBIBYTE for value in (memory.before, memory.most, memory.after))
            print(f"web: {before:.0f} MiB before, {most:.0f} at most (+{most - before:.0f}), {after:.0f} after")


class Signed:
    """Sends a file to signed addresses of the site. Each method returns the seconds that it took."""

    def __init__(self, site: Product, sender: Sender, *, at_once: int) -> None:
        self._site, self._sender, self._at_once = site, sender, at_once
        self._owners = itertools.count()

    def whole(self, *, size: int | None = None) -> float:
        # Files of unknown size are sent whole, whatever their size.
        _, url, _, _ = self._begin(declared=None)
        began = time.perf_counter()
        self._sender.put(url, count=size)
        return time.perf_counter() - began

    def parts(self) -> float:
        _, _, parts, complete_url = self._begin(declared=self._sender.size)
        began = time.perf_counter()
        self._complete(complete_url, self._send(parts))
        return time.perf_counter() - began

    def broken(self) -> None:
        """Break an upload in the middle of a part, go on with fresh addresses, and compare what is stored."""
        upload_id, _, parts, _ = self._begin(declared=self._sender.size)
        done = int(len(parts) * BROKEN_AT)
        etags = self._send(parts[:done])
        number, url = parts[done]
        self._sender.put(
            url, first=self._first(number), count=self._count(number), break_after=self._count(number) // 2
        )
        _, _, parts, complete_url = self._ask(AGAIN, upload=upload_id)
        self._complete(complete_url, [*etags, *self._send(parts[done:])])
        (key,) = self._site.rows(
            "SELECT storage_key FROM transcription_upload WHERE id = ?", upload_id.replace("-", "")
        )[0]
        with (self._site.folder / "media" / key).open("rb") as file:
            stored = hashlib.file_digest(file, "sha256").hexdigest()
        assert stored == self._sender.sha256()
        print(f"broken in part {number} of {len(parts)}, went on with {len(parts) - done} parts: stored as it was sent")

    def _begin(self, *, declared: int | None) -> Any:
        # One organization may have stored 20 GiB without a transcript.
        owner = f"bench{next(self._owners)}@example.com"
        self._site.new_key(owner=owner)
        return self._ask(BEGIN, owner=owner, declared=declared)

    def _ask(self, code: str, **values: Any) -> Any:
        text = code.format(site=self._site.address, **values)
        return json.loads(self._site.manage("shell", "--no-imports", "-c", text).splitlines()[-1])

    def _first(self, number: int) -> int:
        return (number - 1) * 32 * MEBIBYTE

    def _count(self, number: int) -> int:
        return min(32 * MEBIBYTE, self._sender.size - self._first(number))

    def _send(self, parts: list[tuple[int, str]]) -> list[str]:
        def send(part: tuple[int, str]) -> str:
            return self._sender.put(part[1], first=self._first(part[0]), count=self._count(part[0]))

        with ThreadPoolExecutor(self._at_once) as threads:
            return list(threads.map(send, parts))

    def _complete(self, url: str, etags: list[str]) -> None:
        listed = (
            f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(etags, start=1)
        )
        body = f"<CompleteMultipartUpload>{''.join(listed)}</CompleteMultipartUpload>"
        answer = requests.post(url, data=body, timeout=600)
        assert answer.status_code == 200, answer.text


@contextmanager
def nginx(folder: Path, *, binary: str) -> Iterator[str]:
    """Run nginx with one process, and give its address."""
    (folder / "files").mkdir(parents=True)
    port = product.free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    # Started as root, its process would run as another user, who may not write here.
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    process = subprocess.Popen([binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), *user])
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def dav_put(sender: Sender, address: str, folder: Path) -> float:
    began = time.perf_counter()
    sender.put(f"{address}/large.wav")
    took = time.perf_counter() - began
    stored = folder / "nginx" / "files" / "large.wav"
    assert stored.stat().st_size == sender.size
    stored.unlink()
    return took


def empty(site: Product) -> None:
    """Make room: what came is stored, and nobody needs it."""
    for path in (site.folder / "media").rglob("*"):
        if path.is_file():
            path.unlink()


if __name__ == "__main__":
    main()
