"""Bodies that nobody should have to store, sent to the running product."""

import time
from collections.abc import Iterator

import psutil
import pytest
import requests

from tests.product import Product

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

MEBIBYTE = 1024**2


class Body:
    """A body of zeros of this size, which counts what was taken of it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0

    def __len__(self) -> int:
        return self.size

    def read(self, count: int = -1) -> bytes:
        count = min(MEBIBYTE if count < 0 else count, self.size - self.taken)
        self.taken += count
        return bytes(count)


def web(site: Product) -> psutil.Process:
    below = psutil.Process(site.process.pid).children(recursive=True)
    return next(process for process in below if "voxsite.serve.child web" in " ".join(process.cmdline()))


def spooled_bytes(site: Product) -> int:
    return sum(path.stat().st_size for path in (site.folder / "uploads").iterdir())


def refused(site: Product, *, body: object, headers: dict[str, str]) -> requests.Response:
    """Send the body and return the refusal, after checking that the web process and its disk did not grow."""
    before = web(site).memory_info().rss
    response = requests.post(
        f"{site.address}/v1/transcribe",
        data=body,
        headers={"Content-Type": "multipart/form-data; boundary=x", **headers},
        timeout=120,
    )
    assert web(site).memory_info().rss - before < 50 * MEBIBYTE
    time.sleep(0.3)
    assert spooled_bytes(site) == 0
    return response


def test_500_megabytes_without_a_key_are_not_read(site):
    body = Body(500 * MEBIBYTE)
    response = refused(site, body=body, headers={})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == 401
    # What the sockets' buffers took in before the answer came.
    assert body.taken < 32 * MEBIBYTE


def test_more_than_two_gibibytes_are_not_read(site):
    body = Body(2048 * MEBIBYTE + MEBIBYTE + 1)
    response = refused(site, body=body, headers={"X-API-Key": site.new_key(owner="large@example.com")})
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "body_too_large"
    assert body.taken < 32 * MEBIBYTE


def test_endless_body_is_cut(site):
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1024):
            sent += MEBIBYTE
            yield bytes(MEBIBYTE)

    key = site.new_key(owner="endless@example.com")
    response = refused(site, body=endless(), headers={"X-API-Key": key})
    assert response.status_code == 413
    assert "Content-Length" in response.json()["error"]["message"]
    assert sent < 128 * MEBIBYTE
