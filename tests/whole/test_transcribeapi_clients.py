"""TranscribeAPI's own packages from PyPI and npm, unmodified, in both generations, against the running product.

Each is installed in a temporary folder and runs in its own process. Uploads pass a proxy that breaks some of them.
"""

import base64
import json
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests import clients, product
from tests.clients import Node
from tests.fixtures import tiny_whisper
from tests.product import Product
from tests.transcription import remote
from tests.transcription.remote import Remote
from tests.whole import failing_proxy
from tests.whole.customer import Customer, charges, wait_for
from tests.whole.failing_proxy import Proxy
from tests.whole.transcribeapi_programs import (
    HOOKED,
    NEWER_BATCH,
    NEWER_BIG,
    NEWER_PROGRAM,
    NODE_BATCH,
    NODE_BIG,
    NODE_PROGRAM,
    OLDER_BIG,
    OLDER_PROGRAM,
    RELOADING,
    SAVE_CARD,
)

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(1200)]

OLDER, NEWER, NODE_PACKAGE = "transcribe-api==0.1.2", "transcribe-api==0.1.10", "@transcribe-api/sdk@0.1.10"
HELLO = tiny_whisper.SAMPLES / "en-hello.wav"
HOLA = tiny_whisper.SAMPLES / "es-hola.wav"
WORDS = "hello thank you please call me tomorrow morning"
AROUND = ["metadata", "billing", "detected_language"]
# The packages send files in parts from 128 MiB on.
BIG_BYTES = 128 * 1024**2 + 1_000_000
FINAL = ("completed", "failed", "insufficient_funds")


@dataclass(frozen=True)
class World:
    """The product, the proxy that uploads and results pass, and a server with a recording."""

    site: Product
    proxy: Proxy
    server: Remote

    @property
    def base(self) -> str:
        return f"{self.site.address}/transcribeapi/v1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    model = str(tiny_whisper.build(tmp_path_factory.mktemp("model")))
    with remote.running(HELLO.read_bytes()) as server, failing_proxy.running() as proxy:
        switches = {
            "VOXSITE_ENGINE": "faster_whisper",
            "VOXSITE_WHISPER_STANDARD": model,
            "VOXSITE_WHISPER_PREMIUM": model,
            "VOXSITE_WORKERS": "4",
            "VOXSITE_RATE_TRANSCRIBEAPI_FREE": "1000/minute",
            "VOXSITE_ALLOW_PRIVATE_ADDRESSES": server.socket,
            "VOXSITE_URL": proxy.address,
        }
        with product.running(tmp_path_factory.mktemp("product"), **switches) as site:
            proxy.target = site.address
            yield World(site, proxy, server)


@pytest.fixture(autouse=True)
def nothing_fails(world: World) -> None:
    world.proxy.failure = lambda method, path: None
    world.proxy.passed.clear()


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WAV file of 128 MiB that lasts 22.01 seconds: 8 channels of 192 kHz and 32 bits. All of it is silence."""
    path = tmp_path_factory.mktemp("big") / "big.wav"
    rate, channels, sample_bytes = 192_000, 8, 4
    frame_bytes = channels * sample_bytes
    data_bytes = BIG_BYTES - 44 - (BIG_BYTES - 44) % frame_bytes
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + data_bytes, b"WAVE",
        b"fmt ", 16, 1, channels, rate, rate * frame_bytes, frame_bytes, 8 * sample_bytes,
        b"data", data_bytes,
    )  # fmt: skip
    with path.open("wb") as file:
        file.write(header)
        file.truncate(44 + data_bytes)
    return path


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clients.python_with(tmp_path_factory.mktemp("older"), OLDER, "requests==2.32.5")


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clients.python_with(tmp_path_factory.mktemp("newer"), NEWER, "requests==2.32.5")


@pytest.fixture(scope="module")
def node_folder(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    node.install(folder, NODE_PACKAGE)
    return folder


def job_of(world: World, customer: Customer, job_id: str, *, seconds: float = 120) -> dict[str, Any]:
    """Return a job of the dialect once it has ended."""

    def ended() -> Any:
        answer = requests.get(f"{world.base}/transcribe/{job_id}", headers=customer.headers, timeout=30).json()
        return answer["job_status"] in FINAL and answer

    return dict(wait_for(ended, seconds=seconds, what=f"no end of job {job_id}"))


def result_of(job: dict[str, Any]) -> Any:
    return requests.get(job["result_url"], timeout=60).json()


def batch_folder(folder: Path) -> Path:
    """Return a folder with 14 recordings in two languages, and a text that is called a recording."""
    for number in range(14):
        shutil.copy(HELLO if number % 2 else HOLA, folder / f"{number:02}.wav")
    (folder / "broken.wav").write_text("This is no recording. " * 100)
    return folder


def assert_batch_lost_two(world: World, customer: Customer, job_id: str) -> None:
    job = job_of(world, customer, job_id)
    assert (job["status"], job["job_status"]) == ("completed_with_errors", "completed")
    assert (job["total_files"], job["completed_files"], job["failed_files"]) == (30, 28, 2)
    files = {file["reference_id"]: file for file in result_of(job)["files"]}
    lost = {reference: file["error_type"] for reference, file in files.items() if file["status"] != "completed"}
    assert lost == {"broken": "not_audio", "gone": "url_not_found"}
    for number in range(14):
        said, language = (files[f"local_{number}"][name] for name in ("text", "detected_language"))
        assert language == ("en" if number % 2 else "es")
        assert (said == WORDS) is bool(number % 2)
        assert files[f"remote_{number}"]["text"] == WORDS
    assert charges(world.site, job_id) == [round(job["cost"] * 1_000_000)]


# --- transcribe-api 0.1.2 ------------------------------------------------------------------------------------------


def test_older_package_for_python(world: World, older: Path) -> None:
    customer = Customer(world.site, "older@example.com")
    arguments = [world.base, customer.headers["X-API-Key"], HELLO, HOLA, world.server.url("/talk.mp3")]
    shown = json.loads(clients.ran([older, "-c", OLDER_PROGRAM, *arguments]).splitlines()[-1])
    one = shown["one"]
    assert (one["text"], one["status"], one["detected_language"], one["price_per_hour"]) == (
        WORDS,
        "completed",
        "en",
        0.15,
    )
    assert shown["all"]["vtt"].count("-->") == len(WORDS.split())
    assert "segments" not in shown["all"]
    assert shown["bare"] == shown["bytes"] == WORDS
    assert shown["url"]["status"] in ("uploading", "verifying", "queued")
    assert result_of(job_of(world, customer, shown["url"]["job_id"]))["text"] == WORDS
    assert shown["several"]["status"] in ("verifying", "queued", "completed")
    assert shown["status"]["job_id"] == shown["several"]["job_id"]
    job = job_of(world, customer, shown["several"]["job_id"])
    assert job["status"] == "completed"
    found = {file["reference_id"]: file["text"] for file in result_of(job)["files"]}
    assert found.keys() == {"file_000001", "hola", "file_000003"}
    assert found["file_000001"] == found["file_000003"] == WORDS
    # It reads the error as an object, and the documentation and all newer packages have a text. Nothing pleases both.
    assert "'str' object has no attribute" in shown["error"]


def fail_first_put_of(part: int, status: int) -> Any:
    """Return a failure of the first PUT of a part."""
    left = [1]

    def failure(method: str, path: str) -> int | None:
        if method == "PUT" and f"/parts/{part}?" in path and left[0]:
            left[0] -= 1
            return status
        return None

    return failure


def test_big_file_of_the_older_package(world: World, older: Path, big: Path) -> None:
    """Each part arrives at the first try: its retries end with a NameError, since it does not import `time`."""
    customer = Customer(world.site, "older-big@example.com")
    arguments = [world.base, customer.headers["X-API-Key"], big]
    shown = json.loads(clients.ran([older, "-c", OLDER_BIG, *arguments]).splitlines()[-1])
    assert_big_file_was_heard(world, customer, shown["job_id"])


def assert_big_file_was_heard(world: World, customer: Customer, job_id: str) -> None:
    job = job_of(world, customer, job_id, seconds=300)
    assert job["status"] == "completed", job
    assert job["billed_seconds"] == 23
    result = result_of(job)
    assert result["text"] == ""
    assert result["duration_seconds"] == pytest.approx(BIG_BYTES / (192_000 * 32), abs=0.2)
    puts = [path.partition("?")[0].rpartition("/")[2] for method, path in world.proxy.passed if method == "PUT"]
    assert set(puts) == {str(number) for number in range(1, len(set(puts)) + 1)}
    assert len(set(puts)) == -(-BIG_BYTES // 5_242_880)


# --- transcribe-api 0.1.10 -----------------------------------------------------------------------------------------


def assert_newer_package_was_served(shown: dict[str, Any]) -> None:
    one = shown["one"]
    assert (one["text"], one["reference_id"], one["job_status"]) == (WORDS, "call 7", "completed")
    assert isinstance(one["remaining_balance"], float)
    assert one.keys() - shown["vtt"].keys() == {"vtt", "reference_id"}
    assert one.keys() - shown["two"].keys() == {"vtt", "segments", "reference_id"}
    assert not {"cost", "remaining_balance", "job_id", "status"} & shown["billing"].keys()
    assert shown["text"] == WORDS
    assert shown["only vtt"].startswith("WEBVTT")
    assert shown["only segments"] == one["segments"]
    assert (shown["url"]["text"], shown["url"]["reference_id"]) == (WORDS, "r")
    assert (shown["polled"]["job_status"], shown["polled"]["total_files"]) == ("completed", 3)
    assert result_of(shown["polled"])["files"][0]["text"] == WORDS
    for name, expected in (
        ("language", [400, "invalid_request_options"]),
        ("key", [401, "invalid_api_key"]),
        ("field", [400, "invalid_request_options"]),
        ("job", [404, "job_not_found"]),
        ("funds", [402, "no_saved_card"]),
    ):
        status, code, message = shown[name]
        assert [status, code] == expected
        assert message


def test_newer_package_for_python(world: World, newer: Path) -> None:
    customer = Customer(world.site, "newer@example.com")
    arguments = [world.base, customer.headers["X-API-Key"], HELLO, HOLA, world.server.url("/talk.mp3")]
    assert_newer_package_was_served(json.loads(clients.ran([newer, "-c", NEWER_PROGRAM, *arguments]).splitlines()[-1]))


def test_batch_of_thirty_mixed_files_of_which_two_are_broken(world: World, newer: Path, tmp_path: Path) -> None:
    customer = Customer(world.site, "newer-batch@example.com")
    urls = [world.server.url("/talk.mp3"), world.server.url("/status?code=404")]
    arguments = [world.base, customer.headers["X-API-Key"], batch_folder(tmp_path), *urls]
    shown = json.loads(clients.ran([newer, "-c", NEWER_BATCH, *arguments]).splitlines()[-1])
    assert_batch_lost_two(world, customer, shown["job_id"])


def test_big_file_of_the_newer_package_with_a_part_that_fails(world: World, newer: Path, big: Path) -> None:
    customer = Customer(world.site, "newer-big@example.com")
    world.proxy.failure = fail_first_put_of(7, 503)
    arguments = [world.base, customer.headers["X-API-Key"], big]
    shown = json.loads(clients.ran([newer, "-c", NEWER_BIG, *arguments]).splitlines()[-1])
    assert_big_file_was_heard(world, customer, shown["job_id"])


def test_upload_that_broke_is_resumed(world: World, newer: Path, big: Path) -> None:
    """The package gives up. What came stays, and a program goes on with the parts that are missing."""
    customer = Customer(world.site, "resumed@example.com")
    refused = {"10", "20"}
    world.proxy.failure = lambda method, path: (
        403 if method == "PUT" and path.partition("?")[0].rpartition("/")[2] in refused else None
    )
    arguments = [world.base, customer.headers["X-API-Key"], big]
    broken = json.loads(clients.ran([newer, "-c", NEWER_BIG, *arguments]).splitlines()[-1])
    assert broken["status"] == 403
    world.proxy.failure = lambda method, path: None

    job_id = broken["job_id"]
    created = requests.post(f"{world.base}/jobs/{job_id}/resume-upload", headers=customer.headers, json={}, timeout=30)
    assert created.json()["code"] == "invalid_upload"
    # The answer to the order, which the package keeps, has the key and the id of the upload.
    first = broken["uploads"][0]["upload"]
    # An equal order is another one by now: it must not replace the recording that is on its way.
    body = {"files": [{"reference_id": "big", "size_bytes": big.stat().st_size}]}
    again = requests.post(f"{world.base}/transcribe", headers=customer.headers, json=body, timeout=30).json()
    assert again["job_id"] != job_id
    resumed = requests.post(
        f"{world.base}/jobs/{job_id}/resume-upload",
        headers=customer.headers,
        json={"upload": {"type": "multipart", "key": first["key"], "upload_id": first["upload_id"]}},
        timeout=30,
    ).json()["upload"]
    came = {path.partition("?")[0].rpartition("/")[2] for method, path in world.proxy.passed if method == "PUT"}
    etags = {}
    with big.open("rb") as file:
        for part in resumed["parts"]:
            file.seek((part["part_number"] - 1) * resumed["part_size"])
            content = file.read(resumed["part_size"])
            # Parts that came are sent again here only to learn their ETags: their sender has died.
            etags[part["part_number"]] = requests.put(part["url"], data=content, timeout=60).headers["ETag"]
    assert came
    rows = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in etags.items())
    done = requests.post(
        resumed["complete_url"], data=f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>", timeout=60
    )
    assert done.status_code == 200, done.text
    completed = requests.post(
        f"{world.base}/transcribe/{job_id}/upload-completed", headers=customer.headers, timeout=30
    )
    assert completed.status_code == 200, completed.text
    assert_big_file_was_heard(world, customer, job_id)


# --- Webhooks ------------------------------------------------------------------------------------------------------


def test_webhooks_of_the_newer_package_are_signed(world: World, newer: Path) -> None:
    customer = Customer(world.site, "hooked@example.com")
    world.server.asked.clear()
    arguments = [world.base, customer.headers["X-API-Key"], HELLO, world.server.url("/whole")]
    ordered = json.loads(clients.ran([newer, "-c", HOOKED, *arguments]).splitlines()[-1])

    def received() -> Any:
        posts = [one for one in world.server.asked if one.method == "POST"]
        return len(posts) == 2 and posts

    posts = wait_for(received, seconds=60, what="no webhooks")
    address = f"{world.site.address}/.well-known/transcribeapi-webhook-keys.json"
    keys = {key["key_id"]: key["x"] for key in requests.get(address, timeout=30).json()["keys"]}
    for post in posts:
        public = base64.urlsafe_b64decode(keys[post.headers["X-TranscribeAPI-Key-Id"]] + "=")
        signed = f"{post.headers['X-TranscribeAPI-Timestamp']}.".encode() + post.body
        signature = base64.b64decode(post.headers["X-TranscribeAPI-Signature"])
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    told = [json.loads(post.body) for post in posts]
    assert {body["job_id"] for body in told} == set(ordered)
    assert {body["type"] for body in told} == {"transcription.completed"}
    assert requests.get(told[0]["result_url"], timeout=30).status_code == 200


# --- Auto reload ---------------------------------------------------------------------------------------------------


def test_auto_reload_charges_the_saved_card_once(world: World, newer: Path) -> None:
    owner = "reload@example.com"
    customer = Customer(world.site, owner, dollars="3")
    world.site.manage("shell", "--no-imports", "-c", SAVE_CARD.format(name=owner))
    before = customer.balance()["balance_micros"]
    arguments = [world.base, customer.headers["X-API-Key"], HELLO]
    first, second, third = json.loads(clients.ran([newer, "-c", RELOADING, *arguments]).splitlines()[-1])
    assert first < second
    assert second - third < 0.01
    spent = before + 10_000_000 - customer.balance()["balance_micros"]
    assert 0 < spent < 100_000


# --- @transcribe-api/sdk -------------------------------------------------------------------------------------------


def test_package_for_node(world: World, node: Node, node_folder: Path) -> None:
    customer = Customer(world.site, "node@example.com")
    arguments = [world.base, customer.headers["X-API-Key"], HELLO, HOLA, world.server.url("/talk.mp3")]
    assert_newer_package_was_served(json.loads(node.run(node_folder, NODE_PROGRAM, *arguments).splitlines()[-1]))


def test_batch_of_the_package_for_node(world: World, node: Node, node_folder: Path, tmp_path: Path) -> None:
    customer = Customer(world.site, "node-batch@example.com")
    urls = [world.server.url("/talk.mp3"), world.server.url("/status?code=404")]
    arguments = [world.base, customer.headers["X-API-Key"], batch_folder(tmp_path), *urls]
    shown = json.loads(node.run(node_folder, NODE_BATCH, *arguments).splitlines()[-1])
    assert_batch_lost_two(world, customer, shown["job_id"])


def test_big_file_of_the_package_for_node_with_a_part_that_fails(
    world: World, node: Node, node_folder: Path, big: Path
) -> None:
    customer = Customer(world.site, "node-big@example.com")
    world.proxy.failure = fail_first_put_of(3, 503)
    arguments = [world.base, customer.headers["X-API-Key"], big]
    shown = json.loads(node.run(node_folder, NODE_BIG, *arguments).splitlines()[-1])
    assert_big_file_was_heard(world, customer, shown["job_id"])
