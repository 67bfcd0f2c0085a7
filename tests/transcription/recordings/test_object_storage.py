"""Recordings in a bucket: tests of storage, uploads, imports and jobs once more, with a real server of S3's protocol.

The tests that are imported are those that look at storage as the code does, and not at a folder.
"""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts.errors import BadRequest
from tests import object_storage
from tests.fixtures import recordings as samples
from tests.transcription.factories import make_submission
from tests.transcription.jobs.test_verification import (  # noqa: F401
    no_recording,
    test_batch_waits_for_its_last_recording_and_pays_for_the_good_ones,
    test_canceled_job_is_not_verified_and_costs_nothing,
    test_delete_removes_uploads_that_never_came,
    test_file_that_is_cut_off_is_accepted_if_its_job_says_so,
    test_file_that_is_no_recording_fails_the_job_with_its_reason,
    test_item_that_is_verified_twice_is_held_once,
    test_job_is_priced_and_held_when_its_recording_is_known,
    test_recording_of_an_earlier_job_serves_again,
)
from tests.transcription.recordings.test_form_uploads import (  # noqa: F401
    test_accepted_recording_is_probed_and_stored,
)
from tests.transcription.recordings.test_imports import (  # noqa: F401
    server,
    test_bytes_come_into_storage_and_the_url_is_forgotten,
    test_import_whose_upload_expired_is_lost,
)
from tests.transcription.recordings.test_orderable import (  # noqa: F401
    file,
    test_clock_deletes_file_without_a_job_after_its_time,
    test_clock_leaves_file_to_its_jobs_and_the_last_deleted_job_takes_it,
)
from tests.transcription.recordings.test_storage import (  # noqa: F401
    test_empty_upload_is_refused,
    test_too_large_upload_is_refused,
)
from tests.transcription.recordings.test_uploads import (  # noqa: F401
    sent,
    test_bytes_of_another_size_are_not_taken_at_the_customers_word,
    test_bytes_that_the_customer_put_into_storage_are_confirmed,
    test_clock_ends_uploads_that_never_came_or_that_no_job_asked_for,
    test_customer_may_say_more_than_once_that_the_bytes_have_come,
    test_late_bytes_are_refused,
    test_missing_bytes_are_not_confirmed,
    test_recording_has_a_key_that_no_customer_has_an_address_for,
    test_upload_becomes_a_recording,
    test_verifier_that_finds_the_recording_made_meanwhile_takes_it,
    test_verifying_twice_gives_the_same_recording,
)
from transcription import jobs, submissions
from transcription.jobs.submission import Source
from transcription.models import Status, Upload, UploadState
from transcription.recordings import expiry, storage, upload_targets, uploads
from transcription.recordings.upload_targets import MultipartTarget, PutTarget
from voxsite.storage import RangedS3Storage

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.django_db,
    # boto3's own use of the clock.
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]
SITE = "https://example.com"
MIB = 1024**2
SPEECH = samples.named("sentence-slt.wav").path.read_bytes()
# WAV takes what follows its data for nothing, so this is a recording of several parts.
LARGE = SPEECH + bytes(11 * MIB)


@pytest.fixture(scope="module")
def address():
    with object_storage.serving() as running:
        yield running


@pytest.fixture(autouse=True)
def bucket(address, settings):
    object_storage.empty(address)
    default = {"BACKEND": "voxsite.storage.RangedS3Storage", "OPTIONS": object_storage.options(address)}
    settings.STORAGES = {**settings.STORAGES, "default": default}
    return object_storage.client(address)


@pytest.fixture
def empty_storage():
    """Stands for the fixture of this name of the imported tests."""


@pytest.fixture
def own_storage():
    """The same."""


def begin(organization, content=SPEECH, **fields):
    return uploads.begin(organization, **{"name": "call.wav", "declared_bytes": len(content), **fields})


def target_of(upload, **wishes):
    return upload_targets.instructions(Upload.objects.get(pk=upload.pk), site_url=SITE, **wishes)


def keys(bucket):
    return [entry["Key"] for entry in bucket.list_objects_v2(Bucket=object_storage.BUCKET).get("Contents", [])]


def running_parts(bucket):
    return bucket.list_multipart_uploads(Bucket=object_storage.BUCKET).get("Uploads", [])


def signed_headers(url):
    return parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")


def put_parts(target, content=LARGE):
    etags = []
    for number, url in target.parts:
        start = (number - 1) * target.part_bytes
        response = requests.put(url, data=content[start : start + target.part_bytes], timeout=30)
        assert response.status_code == 200
        etags.append(response.headers["ETag"])
    return etags


def complete(target, etags):
    parts = (f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(etags, start=1))
    body = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>"
    return requests.post(target.complete_url, data=body, headers={"Content-Type": "application/xml"}, timeout=30)


@pytest.mark.long
def test_one_put_becomes_a_recording(organization, bucket):
    upload = begin(organization, declared_type="audio/wav")
    target = target_of(upload)
    assert isinstance(target, PutTarget)
    assert requests.put(target.url, data=SPEECH, headers=dict(target.headers), timeout=30).status_code == 200
    assert uploads.announce_received(upload)
    assert uploads.verify(upload).size_bytes == len(SPEECH)
    (key,) = keys(bucket)
    assert key.startswith("media/")


@pytest.mark.long
def test_size_and_type_are_signed_by_version_4(organization):
    url = target_of(begin(organization, declared_type="audio/wav")).url
    query = parse_qs(urlsplit(url).query)
    assert signed_headers(url) == ["content-length", "content-type", "host"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["3600"]
    # Clients would have to send the checksum that boto3 signs by default, of an empty body.
    assert not [name for name in query if "checksum" in name.lower()]


def test_file_of_unknown_size_has_no_signed_size(organization):
    upload = begin(organization, declared_bytes=None)
    target = target_of(upload)
    assert "content-length" not in signed_headers(target.url)
    requests.put(target.url, data=SPEECH, timeout=30)
    assert uploads.announce_received(upload)
    assert Upload.objects.get(pk=upload.pk).declared_bytes == len(SPEECH)


@pytest.mark.long
def test_parts_become_a_recording(organization, bucket):
    upload = begin(organization, LARGE)
    target = target_of(upload, part_bytes=5 * MIB)
    assert isinstance(target, MultipartTarget)
    assert len(target.parts) == 3
    assert all("content-length" in signed_headers(url) for _, url in target.parts)
    etags = put_parts(target)
    assert uploads.announce_received(upload) is False
    assert complete(target, etags).status_code == 200
    assert uploads.announce_received(upload) is True
    media = uploads.verify(upload)
    with storage.local_path(media) as path:
        assert path.read_bytes() == LARGE


@pytest.mark.long
def test_broken_upload_goes_on_with_the_missing_parts(organization):
    upload = begin(organization, LARGE)
    first = target_of(upload, part_bytes=5 * MIB)
    etag = requests.put(first.parts[0][1], data=LARGE[: 5 * MIB], timeout=30).headers["ETag"]
    again = target_of(upload)
    assert (again.upload_id, again.part_bytes) == (first.upload_id, first.part_bytes)
    etags = [etag]
    for number, url in again.parts[1:]:
        start = (number - 1) * again.part_bytes
        etags.append(requests.put(url, data=LARGE[start : start + again.part_bytes], timeout=30).headers["ETag"])
    assert complete(again, etags).status_code == 200
    assert uploads.announce_received(upload)


@pytest.mark.long
def test_parts_that_were_given_up_begin_again(organization, bucket):
    upload = begin(organization, LARGE)
    target = target_of(upload, part_bytes=5 * MIB)
    etags = put_parts(target)
    assert requests.delete(target.abort_url, timeout=30).status_code == 204
    assert running_parts(bucket) == []
    assert complete(target, etags).status_code >= 400
    assert uploads.announce_received(upload) is False
    again = target_of(upload)
    assert again.upload_id != target.upload_id
    assert complete(again, put_parts(again)).status_code == 200
    assert uploads.announce_received(upload)


@pytest.mark.long
def test_bytes_that_come_into_the_bucket_are_found(organization):
    whole, in_parts = begin(organization), begin(organization, LARGE)
    target = target_of(in_parts, part_bytes=5 * MIB)
    whole.refresh_from_db()
    in_parts.refresh_from_db()
    assert not upload_targets.have_begun(organization, waiting=[whole, in_parts])
    requests.put(target.parts[1][1], data=LARGE[: 5 * MIB], timeout=30)
    assert upload_targets.have_begun(organization, waiting=[whole, in_parts])
    assert not upload_targets.have_begun(organization, waiting=[whole])
    requests.put(target_of(whole).url, data=SPEECH, timeout=30)
    assert upload_targets.have_begun(organization, waiting=[whole])


def test_bucket_that_does_not_answer_may_have_bytes(organization, settings, caplog):
    """An order more costs nothing, and recordings that replace others are lost."""
    upload = begin(organization)
    default = settings.STORAGES["default"]
    options = {**default["OPTIONS"], "bucket_name": "no-such-bucket"}
    settings.STORAGES = {**settings.STORAGES, "default": {**default, "OPTIONS": options}}
    assert upload_targets.have_begun(organization, waiting=[upload])
    assert "does not say" in caplog.text
    assert not upload_targets.have_begun(organization, waiting=[])


@pytest.mark.long
def test_wrong_etag_is_refused(organization):
    target = target_of(begin(organization, LARGE), part_bytes=5 * MIB)
    etags = put_parts(target)
    assert complete(target, [etags[1], etags[0], etags[2]]).status_code == 400


def test_object_of_another_size_is_refused_and_may_be_sent_again(organization):
    """A server that does not compare the size with the signed one, as this one does not."""
    upload = begin(organization)
    url = target_of(upload).url
    requests.put(url, data=SPEECH + b"more", timeout=30)
    with pytest.raises(BadRequest) as caught:
        uploads.announce_received(upload)
    assert caught.value.type == "upload_size_mismatch"
    requests.put(url, data=SPEECH, timeout=30)
    assert uploads.announce_received(upload)


@pytest.mark.long
def test_parts_of_an_upload_that_expires_are_given_up(organization, bucket):
    put_parts(target_of(begin(organization, LARGE), part_bytes=5 * MIB))
    assert len(running_parts(bucket)) == 1
    assert expiry.expire(now=timezone.now() + timedelta(hours=25)) == 1
    assert running_parts(bucket) == []
    assert keys(bucket) == []


@pytest.mark.long
def test_many_that_expire_leave_the_bucket_by_few_requests(organization, bucket, monkeypatch):
    pair = [begin(organization), begin(organization)]
    for upload in pair:
        requests.put(target_of(upload).url, data=SPEECH, timeout=30)
    in_parts = [begin(organization, LARGE) for _ in range(3)]
    for upload in in_parts:
        target_of(upload, part_bytes=5 * MIB)
    assert (len(keys(bucket)), len(running_parts(bucket))) == (2, 3)
    deleted = []
    delete_many = RangedS3Storage.delete_many
    monkeypatch.setattr(
        RangedS3Storage, "delete_many", lambda self, names: (deleted.append(len(names)), delete_many(self, names))
    )
    assert expiry.expire(now=timezone.now() + timedelta(hours=25)) == 5
    assert (keys(bucket), running_parts(bucket), deleted) == ([], [], [5])


@pytest.mark.long
def test_bucket_that_does_not_answer_stops_no_expiry(organization, settings, caplog):
    upload = begin(organization, LARGE)
    target_of(upload, part_bytes=5 * MIB)
    default = settings.STORAGES["default"]
    options = {**default["OPTIONS"], "bucket_name": "no-such-bucket"}
    settings.STORAGES = {**settings.STORAGES, "default": {**default, "OPTIONS": options}}
    assert expiry.expire(now=timezone.now() + timedelta(hours=25)) == 1
    assert "Could not remove" in caplog.text


@pytest.mark.long
def test_two_that_begin_at_once_leave_one_upload_in_parts(organization, bucket, monkeypatch):
    upload = begin(organization, LARGE)
    begin_multipart = RangedS3Storage.begin_multipart
    twins = []

    def slow(self, name, *, content_type):
        monkeypatch.undo()
        twins.append(target_of(upload, part_bytes=5 * MIB))
        return begin_multipart(self, name, content_type=content_type)

    monkeypatch.setattr(RangedS3Storage, "begin_multipart", slow)
    target = target_of(upload, part_bytes=5 * MIB)
    assert [twin.upload_id for twin in twins] == [target.upload_id]
    assert [one["UploadId"] for one in running_parts(bucket)] == [target.upload_id]


@pytest.mark.long
def test_recording_that_is_replaced_after_it_was_priced_stays_what_it_was(organization, bucket):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    url = target_of(upload).url
    requests.put(url, data=SPEECH, timeout=30)
    uploads.announce_received(upload)
    jobs.bytes_have_come(upload)
    item = job.items.get()
    jobs.verify_item(item.pk)
    assert requests.put(url, data=SPEECH[::-1], timeout=30).status_code == 200
    item.refresh_from_db()
    assert item.status == Status.QUEUED
    with storage.local_path(item.media) as path:
        assert path.read_bytes() == SPEECH


@pytest.mark.long
def test_customer_who_says_that_all_files_were_sent_is_believed_where_they_are(organization, bucket):
    """Nobody tells the site what came into the bucket."""
    declared = {"one": len(SPEECH), "wrong": len(SPEECH) + 1, "unknown": None, "missing": len(SPEECH)}
    sources = [Source(reference=name, declared_bytes=size) for name, size in declared.items()]
    job = submissions.submit_sources(make_submission(organization), sources=sources, name="batch")
    items = {item.reference: item for item in job.items.select_related("upload")}
    for name in ("one", "wrong", "unknown"):
        requests.put(target_of(items[name].upload).url, data=SPEECH, timeout=30)
    assert jobs.uploads_completed(job) == 1
    for item in job.items.filter(status=Status.VERIFYING):
        jobs.verify_item(item.pk)
    job.refresh_from_db()
    found = {item.reference: (item.status, item.error_type) for item in job.items.all()}
    assert found == {
        "one": (Status.QUEUED, ""),
        "unknown": (Status.QUEUED, ""),
        "wrong": (Status.FAILED, "upload_size_mismatch"),
        "missing": (Status.FAILED, "upload_missing"),
    }
    assert [key for key in keys(bucket) if key.startswith(storage.INCOMING)] == []


@pytest.mark.long
def test_many_files_are_looked_for_together(organization, bucket, django_assert_max_num_queries):
    uploads.begin_all([uploads.prepare(organization, name="a", declared_bytes=1) for _ in range(30)])
    for upload in Upload.objects.all():
        bucket.put_object(Bucket=object_storage.BUCKET, Key=upload.storage_key, Body=b"a")
    with django_assert_max_num_queries(2):
        uploads.confirm_all(organization, waiting=Upload.objects.all())
    assert set(Upload.objects.values_list("state", flat=True)) == {UploadState.RECEIVED}


def test_public_address_of_the_bucket_is_the_one_that_customers_get(organization, address, settings):
    public = "https://files.example.com"
    options = object_storage.options(address, public_endpoint_url=public)
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "voxsite.storage.RangedS3Storage", "OPTIONS": options},
    }
    upload = begin(organization, LARGE)
    target = target_of(upload, part_bytes=5 * MIB)
    for url in (target.complete_url, target.abort_url, *(url for _, url in target.parts)):
        assert urlsplit(url).hostname.endswith("files.example.com")
    assert Upload.objects.get(pk=upload.pk).state == UploadState.WAITING


@pytest.mark.long
def test_large_object_is_moved_inside_of_the_bucket(organization):
    """boto3 copies in parts from 8 MB on, and S3 demands it from 5 GB on."""
    upload = begin(organization, LARGE)
    default_storage.connection.meta.client.put_object(Bucket=object_storage.BUCKET, Key=upload.storage_key, Body=LARGE)
    uploads.confirm(upload)
    with storage.local_path(uploads.verify(upload)) as path:
        assert path.read_bytes() == LARGE
