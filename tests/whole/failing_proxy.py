"""A proxy in front of a site that fails the requests that a test chooses: with a status, or by a broken connection."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

# Of the answer of the site, what belongs to the connection to it.
OF_CONNECTION = ("connection", "content-length", "transfer-encoding", "date", "server")


@dataclass
class Proxy:
    """A running proxy. target: the site's address. failure: (method, path) -> a status, 0 to break off, None to pass.

    passed: (method, path) of the requests that the site got.
    """

    address: str
    target: str = ""
    failure: Callable[[str, str], int | None] = lambda method, path: None
    passed: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def running() -> Iterator[Proxy]:
    """Yield a proxy. Its target is set before the first request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            failure = proxy.failure(self.command, self.path)
            if failure == 0:
                self.close_connection = True
                return
            if failure is not None:
                self.answer(failure, {}, b"broken")
                return
            proxy.passed.append((self.command, self.path))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            found = requests.request(self.command, proxy.target + self.path, data=body, headers=headers, timeout=120)
            self.answer(found.status_code, dict(found.headers), found.content)

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in OF_CONNECTION:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Print nothing."""

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the names that http.server calls

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = Proxy(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
