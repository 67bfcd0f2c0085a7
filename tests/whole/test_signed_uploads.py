"""Large files sent to signed addresses of the running product: broken, killed, resumed, tampered with, and heard."""

import json
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.fixtures import recordings
from tests.product import Product
from tests.whole.customer import Customer

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

MEBIBYTE = 1024**2
PART_BYTES = 5 * MEBIBYTE
SENTENCE = recordings.named("sentence-slt.wav")
# WAV takes what follows its data for nothing, so this is a short recording of six parts.
CONTENT = SENTENCE.path.read_bytes() + os.urandom(26 * MEBIBYTE)
OWNER = "large@example.com"
# A file of 30 MB is probed and recognised meanwhile, perhaps beside other products.
PATIENCE_SECONDS = 240
BEGIN = """
import json
from accounts.models import Organization
from transcription import submissions
from transcription.jobs.submission import Submission
from transcription.models import Upload
from transcription.recordings import upload_targets, uploads
from transcription.speech.options import TranscriptionOptions

site = {site!r}
upload = Upload.objects.filter(pk={upload!r}).first()
job_id = ""
if upload is None:
    organization = Organization.objects.get(memberships__user__email={owner!r})
    upload = uploads.begin(organization, name="large.wav", declared_bytes={size})
    options = TranscriptionOptions()
    submission = Submission(organization=organization, dialect="native", model="standard", options=options)
    job_id = str(submissions.submit_upload(submission, upload=upload).pk)
target = upload_targets.instructions(upload, site_url=site, part_bytes={part_bytes})
print(json.dumps([str(upload.pk), job_id, getattr(target, "url", ""), getattr(target, "parts", ()),
    getattr(target, "complete_url", ""), getattr(target, "abort_url", "")]))
"""


class Target:
    """An announced file with a job, and where its bytes are sent."""

    def __init__(
        self, site: Product, *, size: int, part_bytes: int | None = PART_BYTES, upload: str | None = None
    ) -> None:
        code = BEGIN.format(
            site=site.address,
            owner=OWNER,
            size=size,
            part_bytes=part_bytes,
            upload=upload or "00000000-0000-0000-0000-000000000000",
        )
        printed = site.manage("shell", "--no-imports", "-c", code).splitlines()[-1]
        self.upload, self.job_id, self.url, self.parts, self.complete_url, self.abort_url = json.loads(printed)


@pytest.fixture(scope="session")
def site(killed_site: Product) -> Product:
    return killed_site


@pytest.fixture(scope="module")
def customer(site: Product) -> Customer:
    return Customer(site, OWNER)


def part_of(content: bytes, number: int) -> bytes:
    return content[(number - 1) * PART_BYTES : number * PART_BYTES]


def put(url: str, content: bytes) -> str:
    response = requests.put(url, data=content, timeout=60)
    assert response.status_code == 200, response.text
    return response.headers["ETag"]


def break_off(url: str, content: bytes, *, after: int, then: Callable[[], object] = lambda: None) -> None:
    """Send the head and so many bytes of a PUT, do something, and close the connection."""
    address = urlsplit(url)
    head = f"PUT {address.path}?{address.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + content[:after])
        then()


def complete(url: str, etags: list[str]) -> requests.Response:
    listed = (f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(etags, start=1))
    body = f"<CompleteMultipartUpload>{''.join(listed)}</CompleteMultipartUpload>"
    return requests.post(url, data=body, timeout=60)


def web(site: Product) -> psutil.Process:
    below = psutil.Process(site.process.pid).children(recursive=True)
    return next(process for process in below if "voxsite.serve.child web" in " ".join(process.cmdline()))


def incoming(site: Product, *targets: Target, number: int | None = None) -> list[str]:
    """Return the files that have bytes of these uploads, or all files of one part.

    A request that sends a part has a file from its beginning on, if only an empty one that claims the part's place.
    """
    found: list[Path] = []
    for target in targets:
        for folder in (site.folder / "incoming").glob(f"{target.upload}*"):
            found += folder.iterdir() if number is None else folder.glob(f"{number}.*")
    return sorted(path.name for path in found if number is not None or path.stat().st_size)


def until(is_done: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_up(site: Product) -> bool:
    try:
        return requests.get(f"{site.address}/health", timeout=3).status_code == 200
    except requests.RequestException:
        return False


def test_upload_that_broke_and_whose_server_was_killed_goes_on_and_is_heard(site: Product, customer: Customer) -> None:
    target = Target(site, size=len(CONTENT))
    assert len(target.parts) == 6
    etags = {number: put(url, part_of(CONTENT, number)) for number, url in target.parts[:3]}

    # The connection breaks at 60 % of the file, in the middle of a part.
    number, url = target.parts[3]

    def comes() -> None:
        until(lambda: incoming(site, target, number=number))

    break_off(url, part_of(CONTENT, number), after=PART_BYTES // 2, then=comes)
    until(lambda: not incoming(site, target, number=number))

    # The server is killed in the middle of the next try.
    def kill() -> None:
        comes()
        web(site).kill()

    break_off(url, part_of(CONTENT, number), after=PART_BYTES // 2, then=kill)
    until(lambda: is_up(site))

    again = Target(site, size=len(CONTENT), upload=target.upload)
    assert [number for number, _ in again.parts] == [number for number, _ in target.parts]
    etags |= {number: put(url, part_of(CONTENT, number)) for number, url in again.parts[3:]}
    assert complete(again.complete_url, [etags[number] for number, _ in again.parts]).status_code == 200
    assert incoming(site, target) == []
    until(lambda: customer.job(target.job_id)["status"] in {"completed", "failed"})
    job = customer.job(target.job_id)
    assert (job["status"], job["error"]) == ("completed", None)
    ((key,),) = site.rows("SELECT storage_key FROM transcription_upload WHERE id = ?", target.upload.replace("-", ""))
    assert (site.folder / "media" / key).read_bytes() == CONTENT


def test_hundreds_of_megabytes_leave_the_web_process_as_it_was(site: Product, customer: Customer) -> None:
    """In parts by eight at once, and whole by three at once."""
    content = os.urandom(MEBIBYTE) * 200
    target = Target(site, size=len(content))
    whole = [Target(site, size=len(content) // 4, part_bytes=None) for _ in range(3)]
    put(target.parts[0][1], part_of(content, 1))
    before = web(site).memory_info().rss
    with ThreadPoolExecutor(8) as threads:
        etags = list(threads.map(lambda part: put(part[1], part_of(content, part[0])), target.parts))
        list(threads.map(lambda one: put(one.url, content[: len(content) // 4]), whole))
    assert complete(target.complete_url, etags).status_code == 200
    assert web(site).memory_info().rss - before < 60 * MEBIBYTE
    assert incoming(site, target, *whole) == []


def test_what_an_address_does_not_allow_is_refused_while_it_is_sent(site: Product, customer: Customer) -> None:
    """A client that is still sending reads the answer, and little of its body is taken."""
    target = Target(site, size=len(CONTENT))
    (number, first), (_, second) = target.parts[:2]
    content = part_of(CONTENT, number)
    tampered = f"{urlsplit(second)._replace(query=urlsplit(first).query).geturl()}"
    for url, body, status, code in (
        (tampered, content, 403, "SignatureDoesNotMatch"),
        (first.replace("expires=", "expires=9"), content, 403, "SignatureDoesNotMatch"),
        (first, CONTENT, 400, "EntityTooLarge"),
        (first, content[:-1], 400, "IncompleteBody"),
    ):
        response = requests.put(url, data=body, timeout=60)
        assert (response.status_code, f"<Code>{code}</Code>" in response.text) == (status, True)
    chunked = requests.put(first, data=iter([content]), timeout=60)
    assert chunked.status_code == 411
    assert incoming(site, target) == []
    assert requests.delete(target.abort_url, timeout=60).status_code == 204
    assert not any(target.upload in path.name for path in (site.folder / "incoming").iterdir())
