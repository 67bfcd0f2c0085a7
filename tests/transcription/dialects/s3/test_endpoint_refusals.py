"""What the application behind signed addresses refuses before it reads a body, and that nothing is left of it."""

import asyncio
import os
import shutil
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import time_machine
from django.utils import timezone

from tests.transcription.dialects.s3.sending import (
    LARGE,
    MIB,
    PARTS,
    SPEECH,
    begin,
    begin_parts,
    call,
    deletion_of,
    exchange,
    has_no_bytes,
    left,
    listed,
    put_parts,
    state,
    stored,
    target_of,
    url_of,
)
from tests.transcription.dialects.waiting_calls import in_thread
from tests.transcription.factories import make_submission
from transcription import submissions
from transcription.models import Upload, UploadState
from transcription.recordings import expiry, incoming, incoming_parts, signing, uploads

pytestmark = pytest.mark.django_db(transaction=True)


def test_parts_of_files_that_never_become_whole_count(organization, charlies, settings):
    """Attack: send all parts but the last one, of many files."""
    settings.MAX_ORDERABLE_BYTES = len(PARTS[0])
    for file in range(2):
        _, target = begin_parts(organization)
        answer = call("PUT", url_of(target, 1), PARTS[0])
        assert answer.status == (200, 409)[file]
    assert (answer.code, answer.taken) == ("InvalidRequest", 0)
    assert call("PUT", url_of(begin_parts(charlies)[1], 1), PARTS[0]).status == 200


def test_nothing_is_taken_from_who_has_stored_too_much_without_a_transcript(organization, settings):
    whole, in_parts = begin(organization), begin_parts(organization)[1]
    target = target_of(whole)
    settings.MAX_ORDERABLE_BYTES = 0
    for url, content in ((target.url, SPEECH), (url_of(in_parts, 1), PARTS[0])):
        answer = call("PUT", url, content)
        assert (answer.status, answer.taken) == (409, 0)
    assert has_no_bytes(settings)
    settings.MAX_ORDERABLE_BYTES = 1
    assert call("PUT", target.url, SPEECH).status == 200
    assert call("PUT", url_of(in_parts, 1), PARTS[0]).status == 409


@pytest.mark.parametrize("changes", ["signature=0", "expires=9999999999", "size=1", "type=a%2Fb", "x=1"])
def test_tampered_address_is_refused_unread(organization, settings, changes):
    upload = begin(organization)
    name = changes.partition("=")[0]
    pairs = [pair for pair in urlsplit(target_of(upload).url).query.split("&") if not pair.startswith(f"{name}=")]
    answer = call("PUT", f"/uploads/{upload.pk}?{'&'.join([*pairs, changes])}", SPEECH)
    assert (answer.status, answer.code, answer.taken) == (403, "SignatureDoesNotMatch", 0)
    assert answer.headers["connection"] == "close"
    assert left(settings) == []
    assert state(upload) == UploadState.WAITING


@pytest.mark.parametrize(
    "path", ["/uploads/", "/uploads/x", "/uploads/{id}/parts", "/uploads/{id}/parts/x", "/uploads/{id}/x"]
)
def test_other_addresses_are_not_found(organization, path):
    answer = call("PUT", path.format(id=begin(organization).pk), SPEECH)
    assert (answer.status, answer.code, answer.taken) == (404, "NoSuchKey", 0)


def test_signature_of_another_upload_is_refused(organization):
    one, other = begin(organization), begin(organization)
    query = urlsplit(target_of(other).url).query
    answer = call("PUT", f"/uploads/{one.pk}?{query}", SPEECH)
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")


def test_signature_of_another_part_is_refused(organization):
    _, target = begin_parts(organization)
    first, second = (urlsplit(url_of(target, number)) for number in (1, 2))
    answer = call("PUT", f"{second.path}?{first.query}", PARTS[1])
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "TRACE"])
def test_other_methods_are_refused(organization, method):
    answer = call(method, target_of(begin(organization)).url)
    assert answer.status == 405
    assert answer.headers["allow"] == "PUT, POST, DELETE"


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_address_serves_its_method_only(organization, method):
    answer = call(method, target_of(begin(organization)).url, b"x")
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")


def test_expired_address_is_refused_unread(organization):
    target = target_of(begin(organization))
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        answer = call("PUT", target.url, SPEECH)
    assert (answer.status, answer.code, answer.taken) == (403, "AccessDenied", 0)
    assert b"expired" in answer.body


@pytest.mark.parametrize(("size", "code"), [(len(SPEECH) + 1, "EntityTooLarge"), (len(SPEECH) - 1, "IncompleteBody")])
def test_other_size_is_refused_before_a_byte_is_read(organization, settings, size, code):
    upload = begin(organization)
    answer = call("PUT", target_of(upload).url, SPEECH, size=size)
    assert (answer.status, answer.code, answer.taken) == (400, code, 0)
    assert left(settings) == []
    assert state(upload) == UploadState.WAITING


@pytest.mark.parametrize("difference", [-1, 1, 300_000])
def test_body_of_another_size_than_its_header_is_refused(organization, settings, tmp_path, difference):
    """No server passes such a body on, and it is not trusted with that."""
    upload = begin(organization)
    content = (SPEECH + bytes(300_000))[: len(SPEECH) + difference]
    answer = call("PUT", target_of(upload).url, content, size=len(SPEECH))
    assert answer.status == 400
    assert (left(settings), stored(tmp_path)) == ([], [])
    assert state(upload) == UploadState.WAITING


def test_size_must_be_told(organization):
    answer = call("PUT", target_of(begin(organization)).url, SPEECH, chunked=True)
    assert (answer.status, answer.code, answer.taken) == (411, "MissingContentLength", 0)


@pytest.mark.parametrize("sent", [{}, {"content-type": "text/html"}, {"content-type": "audio/wav; a=b"}])
def test_other_type_than_the_signed_one_is_refused(organization, sent):
    target = target_of(begin(organization, declared_type="audio/wav"))
    answer = call("PUT", target.url, SPEECH, headers=sent)
    assert (answer.status, answer.code, answer.taken) == (403, "SignatureDoesNotMatch", 0)


@pytest.mark.long
@pytest.mark.parametrize("left", ["nothing", "parts that are put together", "the folder without its parts"])
def test_complete_that_another_one_overtakes_is_answered_as_it(organization, monkeypatch, left):
    """The other one ends between our look at the row and our look at the parts, at any moment of its own end."""
    _, target = begin_parts(organization)
    body = listed(put_parts(target))
    look, others = incoming_parts.assembled, []

    @contextmanager
    def overtaken(*args, **kwargs):
        if not others:
            others.append(None)
            if left != "nothing":
                monkeypatch.setattr(uploads, "remove_incoming", lambda upload: None)
            others[0] = call("POST", target.complete_url, body)
            if left == "the folder without its parts":
                for record in incoming.folder_of(*args, multipart_id=kwargs["multipart_id"]).glob("*.part"):
                    record.unlink()
        with look(*args, **kwargs) as path:
            yield path

    monkeypatch.setattr(incoming_parts, "assembled", overtaken)
    ours = call("POST", target.complete_url, body)
    assert (ours.status, others[0].status, ours.body) == (200, 200, others[0].body)


def test_hostile_list_of_parts_is_refused(organization):
    upload, target = begin_parts(organization)
    body = b'<!DOCTYPE x [<!ENTITY a "b">]>' + listed(["&a;"])
    assert call("POST", target.complete_url, body).code == "MalformedXML"
    answer = call("POST", target.complete_url, b"x", size=10**12)
    assert (answer.status, answer.taken) == (400, 0)
    answer = call("POST", target.complete_url, bytes(5 * MIB), chunked=True)
    assert answer.status == 400
    assert answer.taken < 20
    assert state(upload) == UploadState.WAITING


@pytest.mark.long
@pytest.mark.parametrize("end", [UploadState.EXPIRED, UploadState.REFUSED, UploadState.RECEIVED])
def test_nothing_comes_to_an_upload_that_has_ended(organization, settings, end):
    _, target = begin_parts(organization)
    single = begin(organization)
    url = target_of(single).url
    Upload.objects.update(state=end)
    part = call("PUT", url_of(target, 1), PARTS[0])
    assert (part.status, part.code, part.taken) == (404, "NoSuchUpload", 0)
    whole = call("PUT", url, SPEECH)
    assert whole.status in {404, 409}
    assert call("DELETE", target.abort_url).status == 404
    assert call("POST", target.complete_url, listed(["00000000-1"] * 3)).status == 404
    assert has_no_bytes(settings)


def test_upload_that_expires_while_it_comes_is_refused(organization, settings, tmp_path):
    upload = begin(organization)

    async def expire():
        await in_thread(lambda: Upload.objects.update(expires_at=timezone.now() - timedelta(1)))
        await in_thread(lambda: expiry.expire(now=timezone.now()))

    answer = asyncio.run(exchange("PUT", target_of(upload).url, SPEECH, before_end=expire))
    assert (answer.status, answer.code) == (404, "NoSuchUpload")
    assert (left(settings), stored(tmp_path)) == ([], [])


def test_deleted_upload_is_not_found(organization):
    upload = begin(organization)
    url = target_of(upload).url
    upload.delete()
    answer = call("PUT", url, SPEECH)
    assert (answer.status, answer.code, answer.taken) == (404, "NoSuchUpload", 0)


def test_file_whose_job_is_deleted_while_it_comes_is_refused_and_gone(organization, settings, tmp_path):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    answer = asyncio.run(exchange("PUT", target_of(upload).url, SPEECH, before_end=deletion_of(job)))
    assert (answer.status, answer.code) == (404, "NoSuchUpload")
    assert (left(settings), stored(tmp_path)) == ([], [])


@pytest.mark.long
def test_file_in_parts_whose_job_is_deleted_before_it_is_joined_is_refused(organization, tmp_path):
    upload, target = begin_parts(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    body = listed(put_parts(target))
    answer = asyncio.run(exchange("POST", target.complete_url, body, before_end=deletion_of(job)))
    assert (answer.status, answer.code) == (404, "NoSuchUpload")
    assert stored(tmp_path) == []


def test_file_that_was_begun_in_parts_is_not_one_put(organization):
    upload = begin(organization, LARGE)
    url = target_of(upload).url
    target_of(upload, part_bytes=5 * MIB)
    answer = call("PUT", url, LARGE)
    assert (answer.status, answer.taken) == (400, 0)


def test_part_of_another_size_than_its_address_allows_is_refused(organization):
    """An address that we signed before, for parts of another size."""
    _, target = begin_parts(organization)
    path = urlsplit(url_of(target, 1)).path
    address = signing.signed_path(
        path,
        method="PUT",
        expires_at=timezone.now() + timedelta(hours=1),
        size_bytes=6 * MIB,
        fields={"uploadId": target.upload_id},
    )
    answer = call("PUT", address, bytes(6 * MIB))
    assert (answer.status, answer.code, answer.taken) == (400, "InvalidArgument", 0)


def test_disk_without_room_refuses_new_bytes(organization, settings):
    upload = begin(organization)
    settings.DISK_RESERVE_BYTES = 10**18
    answer = call("PUT", target_of(upload).url, SPEECH)
    assert (answer.status, answer.code, answer.taken) == (507, "InsufficientStorage", 0)
    assert answer.headers["retry-after"] == "60"
    settings.DISK_RESERVE_BYTES = 0
    assert call("PUT", target_of(upload).url, SPEECH).status == 200


def test_who_announces_much_and_sends_nothing_keeps_nobody_out(organization, charlies, settings):
    """Attack: open many PUTs of 10 GB, and send a byte now and then."""
    size = shutil.disk_usage(settings.INCOMING_DIR.parent).free // 2
    settings.MAX_SIGNED_UPLOAD_BYTES = size
    urls = [target_of(begin(organization, declared_bytes=None)).url for _ in range(3)]
    other = target_of(begin(charlies)).url

    async def scenario():
        begun = [asyncio.Event() for _ in urls]
        may_end = asyncio.Event()

        def waits(event):
            async def before_end():
                event.set()
                await may_end.wait()

            return before_end

        slow = [
            asyncio.create_task(exchange("PUT", url, b"x" * 300_000, size=size, before_end=waits(event)))
            for url, event in zip(urls, begun, strict=True)
        ]
        for event in begun:
            await event.wait()
        assert (await exchange("PUT", other, SPEECH)).status == 200
        may_end.set()
        assert {(await one).status for one in slow} == {400}

    asyncio.run(scenario())


def test_disk_that_fills_meanwhile_leaves_nothing(organization, settings, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    upload = begin(organization)
    url = target_of(upload).url
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        answer = call("PUT", url, SPEECH)
    assert (answer.status, answer.code) == (507, "InsufficientStorage")
    assert left(settings) == []
    assert call("PUT", url, SPEECH).status == 200


def test_organization_sends_only_so_many_at_once(organization, charlies, settings):
    settings.MAX_OPEN_UPLOADS = 1
    first, second, other = begin(organization), begin(organization), begin(charlies)
    urls = [target_of(upload).url for upload in (first, second, other)]

    async def scenario():
        async def meanwhile():
            refused, taken = [await exchange("PUT", url, SPEECH) for url in urls[1:]]
            assert (refused.status, refused.code, refused.taken) == (503, "SlowDown", 0)
            assert refused.headers["retry-after"] == "1"
            assert taken.status == 200

        return await exchange("PUT", urls[0], SPEECH, before_end=meanwhile)

    assert asyncio.run(scenario()).status == 200
    assert call("PUT", urls[1], SPEECH).status == 200


def test_fault_of_ours_is_logged_and_leaves_parts_for_another_try(organization, monkeypatch, caplog):
    _, target = begin_parts(organization)
    etags = put_parts(target)

    def broken(*_, **__):
        raise RuntimeError("secret of the database")

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_set_received", broken)
        answer = call("POST", target.complete_url, listed(etags))
    assert (answer.status, answer.code) == (500, "InternalError")
    assert b"secret" not in answer.body
    assert "secret of the database" in caplog.text
    assert target.complete_url.partition("?")[2] not in caplog.text
    assert call("POST", target.complete_url, listed(etags)).status == 200
