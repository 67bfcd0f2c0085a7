"""Where announced bytes are sent: one address or one for each part, for an hour; the same parts when asked again."""

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import time_machine
from django.utils import timezone

from accounts.errors import Conflict
from transcription.models import Upload, UploadState
from transcription.recordings import incoming, incoming_parts, signing, upload_targets, uploads
from transcription.recordings.upload_targets import MultipartTarget, PutTarget

SITE = "https://example.com"
MIB = 1024**2


@pytest.fixture(autouse=True)
def own_folder(settings, tmp_path):
    settings.INCOMING_DIR = tmp_path / "incoming"


def begin(organization, size=5, **fields):
    return uploads.begin(organization, **{"name": "call.wav", "declared_bytes": size, **fields})


def instructions(upload, **wishes):
    return upload_targets.instructions(upload, site_url=SITE, **wishes)


def signed(url, *, method, now=None):
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}" == SITE
    return signing.check(parts.path, query=parts.query, method=method, now=now or timezone.now())


@pytest.mark.parametrize("size", [1, 100_000_000])
def test_small_file_is_one_put_with_its_size_and_type(organization, size):
    upload = begin(organization, size, declared_type="audio/wav")
    target = instructions(upload)
    assert isinstance(target, PutTarget)
    assert dict(target.headers) == {"Content-Type": "audio/wav"}
    found = signed(target.url, method="PUT")
    assert (found.size_bytes, found.content_type) == (size, "audio/wav")
    assert urlsplit(target.url).path == f"/uploads/{upload.pk}"


def test_type_is_not_asked_for_if_none_was_declared(organization):
    target = instructions(begin(organization))
    assert dict(target.headers) == {}
    assert signed(target.url, method="PUT").content_type == ""


@pytest.mark.parametrize("wish", [None, 5 * MIB])
def test_file_of_unknown_size_is_one_put_of_any_size(organization, wish):
    target = instructions(begin(organization, None), part_bytes=wish)
    assert isinstance(target, PutTarget)
    assert signed(target.url, method="PUT").size_bytes is None


def test_large_file_is_sent_in_parts(organization):
    size = 100_000_001
    upload = begin(organization, size)
    target = instructions(upload)
    assert isinstance(target, MultipartTarget)
    assert [number for number, _ in target.parts] == [1, 2, 3]
    sizes = [signed(url, method="PUT").size_bytes for _, url in target.parts]
    assert sizes == [32 * MIB, 32 * MIB, size - 64 * MIB]
    assert target.part_bytes == 32 * MIB
    assert signed(target.complete_url, method="POST").fields["uploadId"] == target.upload_id
    assert signed(target.abort_url, method="DELETE").fields["uploadId"] == target.upload_id
    assert urlsplit(target.complete_url).path == f"/uploads/{upload.pk}/complete"


@pytest.mark.parametrize(
    ("size", "wish", "part_bytes", "count"),
    [
        (12 * MIB, 5 * MIB, 5 * MIB, 3),
        (10 * MIB, 5 * MIB, 5 * MIB, 2),
        (7, 5 * MIB, 5 * MIB, 1),
        (12 * MIB, 1, 5 * MIB, 3),
        (10**10, 1, 5 * MIB, 1908),
        (10**10, 10**12, 5 * 1024 * MIB, 2),
    ],
)
def test_size_of_parts_is_as_wished_within_limits(organization, size, wish, part_bytes, count):
    target = instructions(begin(organization, size), part_bytes=wish)
    assert (target.part_bytes, len(target.parts)) == (part_bytes, count)


@pytest.mark.long
def test_no_file_has_more_than_10000_parts(organization, settings):
    settings.MAX_SIGNED_UPLOAD_BYTES = 10**12
    target = instructions(begin(organization, 10**12), part_bytes=1)
    assert len(target.parts) == 10_000
    assert sum(signed(url, method="PUT").size_bytes for _, url in target.parts) == 10**12


def test_whoever_asks_again_gets_fresh_addresses_of_the_same_parts(organization):
    upload = begin(organization, 12 * MIB)
    first = instructions(upload, part_bytes=5 * MIB)
    for wish in (6 * MIB, None):
        with time_machine.travel(timezone.now() + timedelta(minutes=30)):
            again = instructions(Upload.objects.get(pk=upload.pk), part_bytes=wish)
        assert (again.upload_id, again.part_bytes, len(again.parts)) == (first.upload_id, 5 * MIB, 3)
        assert again.parts != first.parts


def test_addresses_serve_for_an_hour(organization):
    target = instructions(begin(organization))
    now = timezone.now()
    signed(target.url, method="PUT", now=now + timedelta(minutes=59))
    with pytest.raises(signing.AddressExpired):
        signed(target.url, method="PUT", now=now + timedelta(minutes=61))


def test_two_that_begin_at_once_begin_the_same_upload_in_parts(organization):
    upload = begin(organization, 12 * MIB)
    twin = Upload.objects.get(pk=upload.pk)
    one, other = (instructions(each, part_bytes=5 * MIB) for each in (upload, twin))
    assert one.upload_id == other.upload_id


def test_parts_that_were_given_up_are_gone_and_the_next_ones_are_others(organization):
    upload = begin(organization, 12 * MIB)
    first = instructions(upload, part_bytes=5 * MIB)
    assert incoming.folder_of(upload.pk, multipart_id=first.upload_id).exists()
    assert upload_targets.give_up_parts(upload, multipart_id=first.upload_id)
    assert not upload_targets.give_up_parts(upload, multipart_id=first.upload_id)
    assert not incoming.folder_of(upload.pk, multipart_id=first.upload_id).exists()
    again = instructions(Upload.objects.get(pk=upload.pk), part_bytes=6 * MIB)
    assert again.upload_id != first.upload_id
    assert again.part_bytes == 6 * MIB


@pytest.mark.parametrize("state", [UploadState.RECEIVED, UploadState.REFUSED, UploadState.EXPIRED])
def test_upload_that_has_ended_has_no_address(organization, state):
    upload = begin(organization, 12 * MIB)
    Upload.objects.update(state=state)
    with pytest.raises(Conflict):
        instructions(Upload.objects.get(pk=upload.pk))
    # Whoever read the row before that is told so too, where parts are begun.
    with pytest.raises(Conflict):
        instructions(upload, part_bytes=5 * MIB)


def test_late_upload_has_no_address(organization):
    with pytest.raises(Conflict):
        instructions(begin(organization, lifetime=timedelta(seconds=-1)))


@pytest.mark.long
def test_ten_thousand_addresses_ask_the_database_nothing(organization, django_assert_num_queries):
    upload = begin(organization)
    with django_assert_num_queries(0):
        for _ in range(10_000):
            instructions(upload)


def test_bytes_that_are_on_their_way_are_found(organization):
    whole, in_parts = begin(organization), begin(organization, 11 * 1024**2)
    target = instructions(in_parts, part_bytes=5 * 1024**2)
    assert isinstance(target, MultipartTarget)
    in_parts.refresh_from_db()
    both = [whole, in_parts]
    assert not upload_targets.have_begun(organization, waiting=both)
    with incoming.whole(whole.pk):
        assert upload_targets.have_begun(organization, waiting=both)
    assert not upload_targets.have_begun(organization, waiting=both)
    part = {"multipart_id": target.upload_id, "number": 2, "part_bytes": target.part_bytes}
    with incoming_parts.part(in_parts.pk, **part):
        assert upload_targets.have_begun(organization, waiting=both)
    assert not upload_targets.have_begun(organization, waiting=both)
    with incoming_parts.part(in_parts.pk, **part) as file:
        file.write([b"x"])
        file.keep()
    assert upload_targets.have_begun(organization, waiting=both)
