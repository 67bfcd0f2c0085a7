"""The application behind signed addresses, as a server calls it: what comes, what is refused, what is left behind."""

import base64
from xml.etree.ElementTree import fromstring

import pytest

from tests.transcription.dialects.s3.sending import (
    LARGE,
    PARTS,
    SITE,
    SPEECH,
    begin,
    begin_parts,
    call,
    checksum,
    content_of,
    etag_of,
    left,
    listed,
    put_parts,
    state,
    stored,
    target_of,
    url_of,
)
from tests.transcription.factories import make_submission
from transcription import submissions
from transcription.models import JobItem, Status, Upload, UploadState
from transcription.recordings import incoming, incoming_parts, uploads

pytestmark = pytest.mark.django_db(transaction=True)


def test_one_put_becomes_a_recording(organization, settings):
    upload = begin(organization, declared_type="audio/wav")
    target = target_of(upload)
    answer = call("PUT", target.url, SPEECH, headers={"content-type": target.headers["Content-Type"]})
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["etag"] == f'"{etag_of(SPEECH)}"'
    assert state(upload) == UploadState.RECEIVED
    assert content_of(upload) == SPEECH
    assert uploads.verify(upload).size_bytes == len(SPEECH)
    assert list(settings.INCOMING_DIR.iterdir()) == []


def test_bytes_are_moved_and_not_copied(organization, tmp_path, monkeypatch):
    numbers = []
    whole = incoming.whole

    def watched(upload_id):
        file = whole(upload_id)
        numbers.append(file.path.stat().st_ino)
        return file

    monkeypatch.setattr(incoming, "whole", watched)
    call("PUT", target_of(begin(organization)).url, SPEECH)
    assert [path.stat().st_ino for path in stored(tmp_path)] == numbers
    assert stored(tmp_path)[0].stat().st_mode & 0o077 == 0


def test_parts_become_a_file_whatever_their_order(organization, settings, tmp_path):
    upload, target = begin_parts(organization)
    etags = {}
    for number in (3, 1, 2):
        answer = call("PUT", url_of(target, number), PARTS[number - 1])
        assert answer.status == 200
        etags[number] = answer.etag
    assert etags == {number: etag_of(content) for number, content in enumerate(PARTS, start=1)}
    answer = call("POST", target.complete_url, listed([etags[number] for number in (1, 2, 3)]))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/xml")
    joint = incoming_parts.joint_etag([etags[number] for number in (1, 2, 3)])
    assert f'"{joint}"' in answer.body.decode().replace("&quot;", '"')
    assert content_of(upload) == LARGE
    assert state(upload) == UploadState.RECEIVED
    assert list(settings.INCOMING_DIR.iterdir()) == []
    assert len(stored(tmp_path)) == 1


def test_job_that_waits_for_the_bytes_goes_on(organization):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    assert job.status == Status.UPLOADING
    call("PUT", target_of(upload).url, SPEECH)
    assert JobItem.objects.get(job=job).status == Status.VERIFYING


def test_job_that_waits_for_parts_goes_on(organization):
    upload, target = begin_parts(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    etags = put_parts(target)
    assert JobItem.objects.get(job=job).status == Status.UPLOADING
    call("POST", target.complete_url, listed(etags))
    assert JobItem.objects.get(job=job).status == Status.VERIFYING


@pytest.mark.long
@pytest.mark.parametrize("name", ["content-md5", "x-amz-checksum-crc32"])
def test_checksum_that_the_client_sends_is_compared(organization, settings, name):
    upload = begin(organization)
    url = target_of(upload).url
    answer = call("PUT", url, SPEECH, headers={name: checksum(name, SPEECH[::-1])})
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert (left(settings), state(upload)) == ([], UploadState.WAITING)
    for nonsense in ("x", "ü", base64.b64encode(b"short").decode()):
        answer = call("PUT", url, SPEECH, headers={name: nonsense})
        assert (answer.status, answer.code, answer.taken) == (400, "InvalidDigest", 0)
    assert call("PUT", url, SPEECH, headers={name: checksum(name, SPEECH)}).status == 200


def test_file_of_unknown_size_may_have_any(organization):
    upload = begin(organization, declared_bytes=None)
    assert call("PUT", target_of(upload).url, SPEECH).status == 200
    assert Upload.objects.get(pk=upload.pk).declared_bytes == len(SPEECH)


def test_file_of_unknown_size_has_the_limit_of_all(organization, settings):
    settings.MAX_SIGNED_UPLOAD_BYTES = 1000
    answer = call("PUT", target_of(begin(organization, declared_bytes=None)).url, SPEECH)
    assert (answer.status, answer.code, answer.taken) == (400, "EntityTooLarge", 0)


def test_any_type_will_do_if_none_was_declared(organization):
    assert call("PUT", target_of(begin(organization)).url, SPEECH, headers={"content-type": "x/y"}).status == 200


@pytest.mark.long
@pytest.mark.parametrize("origin", [SITE, "https://customer.example", "null"])
def test_pages_of_any_site_may_use_an_address_that_they_have(organization, origin):
    url = target_of(begin(organization)).url
    preflight = call("OPTIONS", url, headers={"origin": origin, "access-control-request-headers": "content-md5"})
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-headers"] == "content-md5"
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    for address, status in ((url.replace("signature=", "signature=x"), 403), (url, 200)):
        answer = call("PUT", address, SPEECH, headers={"origin": origin})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, "*")
        # Nobody's cookies open anything here.
        assert "access-control-allow-credentials" not in answer.headers


def test_who_is_no_page_of_another_site_gets_no_such_headers(organization):
    answer = call("PUT", target_of(begin(organization)).url, SPEECH)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_answer_names_the_request(organization):
    answer = call("PUT", target_of(begin(organization)).url, b"", headers={"x-request-id": "request-12345"})
    assert answer.headers["x-request-id"] == "request-12345"
    assert fromstring(answer.body).findtext("RequestId") == "request-12345"
