"""Equal orders at once are one job: the packages repeat an order whose answer takes too long."""

from collections import Counter

import pytest
import requests

from accounts import api_keys
from tests import object_storage
from tests.billing.ledger.test_contention import KINDS
from tests.contention import contend
from tests.dialects.faces import run_all
from tests.transcription.dialects.s3 import sending
from tests.transcription.dialects.transcribeapi import creation_contention
from tests.transcription.dialects.transcribeapi.calling import WAV
from transcription.models import Job, Upload

BUCKET_MARKS = [
    pytest.mark.enable_socket,
    pytest.mark.django_db(transaction=True),
    # boto3's own use of the clock.
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]
# Sent in parts.
LARGE_BYTES = 101 * 1000**2


def with_a_bucket(test):
    for mark in BUCKET_MARKS:
        test = mark(test)
    return test


@KINDS
@pytest.mark.django_db(transaction=True)
def test_equal_orders_at_once_are_one_job(organization, kind):
    _, key = api_keys.issue(organization, name="calls", by=None)
    seen = sum(contend(creation_contention.order, key, kind=kind, worker_count=3), Counter())
    assert len(seen) == Job.objects.count() == 1
    assert sum(seen.values()) == 3
    assert Upload.objects.count() == 2


@pytest.fixture(scope="module")
def bucket_address():
    with object_storage.serving() as running:
        yield running


@pytest.fixture
def bucket(bucket_address, settings):
    """A bucket to which customers send their files. Nothing tells the site what has come there."""
    object_storage.empty(bucket_address)
    default = {"BACKEND": "voxsite.storage.RangedS3Storage", "OPTIONS": object_storage.options(bucket_address)}
    settings.STORAGES = {**settings.STORAGES, "default": default}
    return object_storage.client(bucket_address)


def put(upload, content):
    target = upload["upload"]
    assert requests.put(target["url"], data=content, headers=target["headers"], timeout=30).status_code == 200


def order_of(*names, **fields):
    return {"files": [{"reference_id": name, **fields} for name in names]}


@with_a_bucket
def test_repeated_order_is_one_job_with_a_bucket(bucket, post):
    body = order_of("a", "b", size_bytes=len(WAV))
    first, second = post("/transcribe", body), post("/transcribe", body)
    assert first.json()["job_id"] == second.json()["job_id"]
    assert second["Idempotency-Replayed"] == "true"
    assert len(second.json()["uploads"]) == 2
    assert Job.objects.count() == 1


@pytest.mark.long
@with_a_bucket
@pytest.mark.parametrize("sent", [("a",), ("b",), ("a", "b")])
def test_order_after_a_file_has_come_into_the_bucket_is_a_new_one(bucket, post, sent):
    """An equal order after that is of other recordings, which must not replace those of the first one."""
    body = order_of("a", "b", size_bytes=len(WAV))
    first = post("/transcribe", body).json()
    for entry in first["uploads"]:
        if entry["reference_id"] in sent:
            put(entry, WAV)
    second = post("/transcribe", body)
    assert second.status_code == 201, second.content
    assert second.json()["job_id"] != first["job_id"]
    assert [entry["reference_id"] for entry in second.json()["uploads"]] == ["a", "b"]
    urls = [entry["upload"]["url"].partition("?")[0] for shown in (first, second.json()) for entry in shown["uploads"]]
    assert len(set(urls)) == 4


@with_a_bucket
@pytest.mark.parametrize(
    ("names", "status"), [(("a",), "failed_upload_size_mismatch"), (("a", "b"), "failed_batch_size_mismatch")]
)
def test_file_of_another_size_in_the_bucket_fails(bucket, post, names, status):
    """A bucket does not compare what comes with what was announced."""
    shown = post("/transcribe", order_of(*names, size_bytes=len(WAV))).json()
    for entry in shown["uploads"]:
        put(entry, WAV + b"more")
    post(f"/transcribe/{shown['job_id']}/upload-completed")
    run_all()
    shown = post(f"/transcribe/{shown['job_id']}", method="get").json()
    assert (shown["status"], shown["job_status"], shown["cost"]) == (status, "failed", 0)


@pytest.mark.long
@with_a_bucket
def test_order_after_a_part_has_come_into_the_bucket_is_a_new_one(bucket, post):
    """A file in parts is no object until the last of them has come."""
    body = order_of("a", size_bytes=LARGE_BYTES)
    first = post("/transcribe", body).json()
    assert post("/transcribe", body).json()["job_id"] == first["job_id"]
    upload = first["uploads"][0]["upload"]
    part = requests.put(upload["parts"][0]["url"], data=bytes(upload["part_size"]), timeout=30)
    assert part.status_code == 200
    second = post("/transcribe", body).json()
    assert second["job_id"] != first["job_id"]
    assert second["uploads"][0]["upload"]["upload_id"] != upload["upload_id"]


@pytest.mark.django_db(transaction=True)
def test_order_after_a_part_has_come_to_the_site_is_a_new_one(post):
    body = order_of("a", size_bytes=LARGE_BYTES)
    first = post("/transcribe", body).json()
    assert post("/transcribe", body).json()["job_id"] == first["job_id"]
    upload = first["uploads"][0]["upload"]
    assert sending.call("PUT", upload["parts"][0]["url"], bytes(upload["part_size"])).status == 200
    assert post("/transcribe", body).json()["job_id"] != first["job_id"]
