"""Object storage, with the real client of S3 and a server that answers as S3 does (AWS, GetObject, read 2026-11-20)."""

import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from voxsite.storage import RangedS3Storage

pytestmark = [
    pytest.mark.enable_socket,
    # boto3's own use of the clock.
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]
CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def bucket():
    """Return (a storage, a list of how many bytes each answer had)."""
    sent = []

    class S3(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/recordings/media/1/one":
                return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if asked is None:
                return self._answer(200, CONTENT)
            first, last = int(asked[1]), int(asked[2])
            if first >= len(CONTENT):
                return self._answer(416, b"<Error><Code>InvalidRange</Code></Error>")
            return self._answer(206, CONTENT[first : last + 1])

        def _answer(self, status, body):
            sent.append(len(body))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/octet-stream")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), S3) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield (
            RangedS3Storage(
                bucket_name="recordings",
                endpoint_url=f"http://127.0.0.1:{server.server_port}",
                access_key="id",
                secret_key="secret",
                region_name="us-east-1",
                addressing_style="path",
            ),
            sent,
        )
        server.shutdown()
        thread.join()


@pytest.mark.long
def test_part_is_all_that_is_fetched(bucket):
    storage, sent = bucket
    assert storage.read_range("media/1/one", first_byte=1000, count=10) == CONTENT[1000:1010]
    assert sent == [10]


def test_end_is_cut_and_beyond_it_is_nothing(bucket):
    storage, _ = bucket
    assert storage.read_range("media/1/one", first_byte=len(CONTENT) - 3, count=10) == CONTENT[-3:]
    assert storage.read_range("media/1/one", first_byte=len(CONTENT), count=10) == b""


@pytest.mark.long
def test_missing_object_is_a_missing_file(bucket):
    storage, _ = bucket
    with pytest.raises(FileNotFoundError):
        storage.read_range("media/1/none", first_byte=0, count=10)
