"""Requests to signed addresses that break, come twice or at once, or meet the end of their upload."""

import asyncio
import os
from datetime import timedelta
from functools import partial

import pytest
from django.db.models.signals import post_init
from django.utils import timezone

from tests.transcription.dialects.s3.sending import (
    LARGE,
    MIB,
    PARTS,
    SPEECH,
    begin,
    begin_parts,
    call,
    content_of,
    etag_of,
    exchange,
    left,
    listed,
    put_parts,
    state,
    stored,
    target_of,
    url_of,
)
from transcription.dialects.s3 import bodies, endpoint
from transcription.dialects.s3.bodies import Patience
from transcription.models import Upload, UploadState

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.long
@pytest.mark.parametrize("leaves_after", [0, 1, 9, 19])
def test_broken_connection_leaves_nothing_of_a_part_and_all_of_the_others(organization, settings, leaves_after):
    upload, target = begin_parts(organization)
    first = call("PUT", url_of(target, 1), PARTS[0]).etag
    before = {path.name for path in left(settings)}
    answer = call("PUT", url_of(target, 2), PARTS[1], leaves_after=leaves_after)
    assert answer.status is None
    assert {path.name for path in left(settings)} == before
    again = target_of(upload)
    assert again.upload_id == target.upload_id
    etags = [first, *(call("PUT", url_of(again, number), PARTS[number - 1]).etag for number in (2, 3))]
    assert call("POST", again.complete_url, listed(etags)).status == 200
    assert content_of(upload) == LARGE


def test_broken_connection_leaves_nothing_of_a_file(organization, settings):
    upload = begin(organization, LARGE)
    call("PUT", target_of(upload).url, LARGE, leaves_after=5)
    assert list(settings.INCOMING_DIR.iterdir()) == []
    assert call("PUT", target_of(upload).url, LARGE).status == 200


def test_part_that_drips_is_refused_and_the_others_stay_for_another_try(organization, settings):
    """Attack: a byte each 59 seconds, which held one of the organization's places and the disk for ever."""
    upload, target = begin_parts(organization)
    etags = [call("PUT", url_of(target, 1), PARTS[0]).etag]
    impatient = partial(endpoint.application, patience=Patience(window_seconds=0.05, min_bytes=10**9))
    answer = call("PUT", url_of(target, 2), PARTS[1], pause=0.01, application=impatient)
    assert (answer.status, answer.code) == (408, "RequestTimeout")
    assert answer.headers["connection"] == "close"
    assert answer.taken < 20
    settings.MAX_OPEN_UPLOADS = 1  # The place is free.
    again = target_of(upload)
    assert again.upload_id == target.upload_id
    etags += [call("PUT", url_of(again, number), PARTS[number - 1]).etag for number in (2, 3)]
    assert call("POST", again.complete_url, listed(etags)).status == 200
    assert content_of(upload) == LARGE


@pytest.mark.parametrize("is_in_parts", [False, True])
def test_body_that_still_comes_when_its_upload_expires_is_refused(organization, settings, is_in_parts):
    """However fast it comes: what comes later is for nothing."""
    upload, target = begin_parts(organization) if is_in_parts else (begin(organization, LARGE), None)
    url = url_of(target, 1) if target else target_of(upload).url
    content = PARTS[0] if target else LARGE
    Upload.objects.filter(pk=upload.pk).update(expires_at=timezone.now() + timedelta(seconds=0.3))
    answer = call("PUT", url, content, pause=0.1)
    assert (answer.status, answer.code) == (404, "NoSuchUpload")
    assert answer.taken < 20
    assert all(path.stat().st_blocks == 0 or path.name == "parts" for path in left(settings))


def test_canceled_request_leaves_nothing(organization, settings):
    """The server ends requests when it stops."""
    upload = begin(organization, LARGE)
    url = target_of(upload).url

    async def scenario():
        waiting = asyncio.Event()

        async def before_end():
            waiting.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(exchange("PUT", url, LARGE, before_end=before_end))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    # The thread that removes the file may end a moment later than the request.
    asyncio.run(bodies.in_thread(lambda: None))
    assert left(settings) == []


def test_repeat_of_a_part_replaces_it(organization):
    upload, target = begin_parts(organization)
    etags = put_parts(target)
    other = os.urandom(5 * MIB)
    etags[1] = call("PUT", url_of(target, 2), other).etag
    call("POST", target.complete_url, listed(etags))
    assert content_of(upload) == PARTS[0] + other + PARTS[2]


def test_two_puts_of_a_part_at_once_are_both_answered_and_one_counts(organization, settings):
    upload, target = begin_parts(organization)
    other = os.urandom(5 * MIB)

    async def scenario():
        return await asyncio.gather(*(exchange("PUT", url_of(target, 1), content) for content in (PARTS[0], other)))

    answers = asyncio.run(scenario())
    assert [answer.status for answer in answers] == [200, 200]
    rest = [call("PUT", url_of(target, number), PARTS[number - 1]).etag for number in (2, 3)]
    done = [call("POST", target.complete_url, listed([answer.etag, *rest])).status for answer in answers]
    assert sorted(done) in ([200, 400], [200, 404])
    assert content_of(upload)[: 5 * MIB] == (PARTS[0] if done[0] == 200 else other)
    assert list(settings.INCOMING_DIR.iterdir()) == []


def test_two_puts_of_a_file_at_once_store_it_once(organization, settings, tmp_path):
    upload = begin(organization, LARGE)
    url = target_of(upload).url

    async def scenario():
        return await asyncio.gather(*(exchange("PUT", url, LARGE) for _ in range(3)))

    assert {answer.status for answer in asyncio.run(scenario())} == {200}
    assert len(stored(tmp_path)) == 1
    assert list(settings.INCOMING_DIR.iterdir()) == []


def test_two_puts_of_different_files_at_once_store_the_first(organization, tmp_path):
    upload = begin(organization, LARGE)
    url = target_of(upload).url

    async def scenario():
        return await asyncio.gather(*(exchange("PUT", url, content) for content in (LARGE, LARGE[::-1])))

    answers = asyncio.run(scenario())
    assert sorted(answer.status for answer in answers) == [200, 409]
    assert len(stored(tmp_path)) == 1


def test_repeat_of_a_whole_file_is_answered_as_the_first_and_stores_nothing(organization, settings, tmp_path):
    """The answer got lost, and the client sends it again."""
    upload = begin(organization)
    url = target_of(upload).url
    first, second = call("PUT", url, SPEECH), call("PUT", url, SPEECH)
    assert (second.status, second.etag) == (200, first.etag)
    assert len(stored(tmp_path)) == 1
    other = call("PUT", url, SPEECH[::-1])
    assert (other.status, other.code) == (409, "UploadAlreadyReceived")
    assert content_of(upload) == SPEECH
    assert left(settings) == []


def test_repeat_of_complete_is_answered_as_the_first(organization, tmp_path):
    _, target = begin_parts(organization)
    etags = put_parts(target)
    first, second = (call("POST", target.complete_url, listed(etags)) for _ in range(2))
    assert (first.status, second.status, first.body) == (200, 200, second.body)
    assert len(stored(tmp_path)) == 1
    wrong = call("POST", target.complete_url, listed([etags[1], etags[0], etags[2]]))
    assert (wrong.status, wrong.code) == (404, "NoSuchUpload")


def test_two_completes_at_once_store_one_file(organization, tmp_path):
    _, target = begin_parts(organization)
    body = listed(put_parts(target))

    async def scenario():
        return await asyncio.gather(*(exchange("POST", target.complete_url, body) for _ in range(4)))

    assert {answer.status for answer in asyncio.run(scenario())} == {200}
    assert len(stored(tmp_path)) == 1


@pytest.mark.parametrize("in_parts", [True, False])
def test_repeat_that_read_the_row_before_the_first_one_ended_is_answered_as_it(organization, tmp_path, in_parts):
    if in_parts:
        _, target = begin_parts(organization)
        request = ("POST", target.complete_url, listed(put_parts(target)))
    else:
        request = ("PUT", target_of(begin(organization)).url, SPEECH)
    others = []

    def end_other(**_):
        post_init.disconnect(end_other, sender=Upload)
        others.append(call(*request))

    post_init.connect(end_other, sender=Upload)
    ours = call(*request)
    assert (ours.status, others[0].status) == (200, 200)
    assert (ours.body, ours.headers.get("etag")) == (others[0].body, others[0].headers.get("etag"))
    assert len(stored(tmp_path)) == 1


def test_missing_or_changed_part_is_told_and_may_come_then(organization):
    upload, target = begin_parts(organization)
    etags = [call("PUT", url_of(target, number), PARTS[number - 1]).etag for number in (1, 2)]
    third = etag_of(PARTS[2])
    for wrong in (etags, [*etags, third], [etags[1], etags[0], third]):
        answer = call("POST", target.complete_url, listed(wrong))
        assert (answer.status, answer.code) == (400, "InvalidPart")
    assert state(upload) == UploadState.WAITING
    etags.append(call("PUT", url_of(target, 3), PARTS[2]).etag)
    assert call("POST", target.complete_url, listed(etags)).status == 200


@pytest.mark.long
def test_parts_that_are_given_up_are_gone(organization, settings):
    upload, target = begin_parts(organization)
    etags = put_parts(target)
    answer = call("DELETE", target.abort_url)
    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers
    assert left(settings) == []
    for again in (
        call("DELETE", target.abort_url),
        call("PUT", url_of(target, 1), PARTS[0]),
        call("POST", target.complete_url, listed(etags)),
    ):
        assert (again.status, again.code) == (404, "NoSuchUpload")
    assert left(settings) == []
    fresh = target_of(upload, part_bytes=5 * MIB)
    assert call("POST", fresh.complete_url, listed(put_parts(fresh))).status == 200


def test_part_that_comes_while_the_upload_is_given_up_is_lost(organization, settings):
    _, target = begin_parts(organization)

    async def scenario():
        async def give_up():
            assert (await exchange("DELETE", target.abort_url)).status == 204

        return await exchange("PUT", url_of(target, 1), PARTS[0], before_end=give_up)

    answer = asyncio.run(scenario())
    assert (answer.status, answer.code) == (404, "NoSuchUpload")
    assert left(settings) == []
