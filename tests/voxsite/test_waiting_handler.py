"""The handler of faces that wait, spoken to as a server does."""

import asyncio
import gc
import threading
import weakref
from pathlib import Path

import pytest
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from accounts.gate.later import LaterResponse
from tests.transcription.dialects.waiting_calls import multipart
from voxsite.sizing_handler import SizingHandler
from voxsite.waiting_handler import WaitingHandler


class Later(LaterResponse):
    def __init__(self):
        super().__init__()
        self.ended = 0
        self.sent = 0
        self.was_cancelled = False
        self.may_answer = asyncio.Event()

    async def respond(self):
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return HttpResponse("at last", headers={"X-Own": "1"})

    def note_sent(self):
        assert not self.ended
        self.sent += 1

    def end(self):
        self.ended += 1


class Burden:
    """What a middleware may hang on a request. It points back to it, as a session does."""

    def __init__(self, request):
        self.request = request


made: list[Later] = []
burdens: list[weakref.ref[Burden]] = []
uploads: list[TemporaryUploadedFile] = []
view_may_end = threading.Event()
view_runs = threading.Event()


def later(request):
    request.burden = Burden(request)
    burdens.append(weakref.ref(request.burden))
    view_runs.set()
    assert view_may_end.wait(20)
    made.append(Later())
    made[-1].headers["X-Own"] = "0"
    made[-1].headers["X-Later"] = "1"
    return made[-1]


def at_once(request):
    return HttpResponse("now")


def sizes(request):
    return HttpResponse(f"{request.META.get('CONTENT_LENGTH')} {request.POST['name']}")


def form(request):
    uploads.append(request.FILES["file"])
    view_runs.set()
    assert view_may_end.wait(20)
    return HttpResponse("stored")


urlpatterns = [
    path("form", csrf_exempt(form)),
    path("later", later),
    path("now", at_once),
    path("sizes", csrf_exempt(sizes)),
]


@pytest.fixture(autouse=True)
def addresses(settings, db):
    settings.ROOT_URLCONF = __name__
    made.clear()
    burdens.clear()
    uploads.clear()
    view_may_end.set()
    view_runs.clear()


class Request:
    def __init__(self, address, *, body=b"", content_type=b"", handler=WaitingHandler):
        self.sent = []
        self._body = body
        self.has_left, self.is_sending, self.is_reading = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.is_reading.set()
        self._is_asked = False
        scope = {
            "type": "http",
            "method": "POST" if body else "GET",
            "path": address,
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", content_type)],
        }
        self.task = asyncio.create_task(handler()(scope, self._receive, self._send))

    async def _receive(self):
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        if message["type"] == "http.response.body":
            self.is_sending.set()
            await self.is_reading.wait()
        self.sent.append(message)


async def until(holds):
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to that")


def test_response_that_is_known_at_once_passes():
    async def act():
        request = Request("/now")
        await request.task
        return request

    assert asyncio.run(act()).sent[1]["body"] == b"now"


def test_later_response_is_awaited_and_gets_the_headers_of_the_middleware():
    async def act():
        request = Request("/later")
        await until(lambda: made)
        made[0].may_answer.set()
        await request.task
        return request

    start, body, *_ = asyncio.run(act()).sent
    headers = dict(start["headers"])
    assert body["body"] == b"at last"
    assert (headers[b"X-Own"], headers[b"X-Later"]) == (b"1", b"1")
    assert headers[b"X-Request-Id"].startswith(b"req_")
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert (made[0].sent, made[0].ended) == (1, 1)


def test_call_that_waits_keeps_nothing_that_hangs_on_its_request():
    """Without the garbage collector: it does not look among what is old for a long time."""

    async def act():
        request = Request("/later")
        await until(lambda: made and burdens[0]() is None)
        made[0].may_answer.set()
        await request.task

    gc.collect()
    gc.disable()
    try:
        asyncio.run(act())
    finally:
        gc.enable()
    assert made[0].sent == 1


def test_client_that_leaves_cancels_the_wait():
    async def act():
        request = Request("/later")
        await until(lambda: made)
        await asyncio.sleep(0)
        request.has_left.set()
        await request.task

    asyncio.run(act())
    assert (made[0].sent, made[0].ended) == (0, 1)


def test_response_that_a_client_did_not_take_is_not_sent():
    async def act():
        request = Request("/later")
        request.is_reading.clear()
        await until(lambda: made)
        made[0].may_answer.set()
        await request.is_sending.wait()
        request.has_left.set()
        await request.task

    asyncio.run(act())
    assert (made[0].sent, made[0].ended) == (0, 1)


def test_client_that_leaves_while_the_view_runs_ends_what_the_view_began():
    async def act():
        view_may_end.clear()
        request = Request("/later")
        await until(view_runs.is_set)
        request.has_left.set()
        await asyncio.sleep(0)
        view_may_end.set()
        await request.task
        return request

    assert asyncio.run(act()).sent == []
    assert [each.ended for each in made] == [1]


@pytest.mark.parametrize("handler", [SizingHandler, WaitingHandler])
@pytest.mark.parametrize("leaves", [False, True])
def test_files_of_a_form_are_closed_however_its_request_ends(leaves, handler):
    async def act():
        view_may_end.clear()
        content_type = b"multipart/form-data; boundary=limit"
        request = Request("/form", body=multipart(), content_type=content_type, handler=handler)
        await until(view_runs.is_set)
        if leaves:
            request.has_left.set()
            await asyncio.sleep(0)
        view_may_end.set()
        await request.task

    asyncio.run(act())
    (upload,) = uploads
    assert upload.closed
    assert not Path(upload.temporary_file_path()).exists()


def test_body_without_a_content_length_is_read():
    """OpenAI's package for Node sends a file that is streamed from the disk in this way."""
    form = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nAnn\r\n--x--\r\n'
    waiting = [
        {"type": "http.request", "body": form[:20], "more_body": True},
        {"type": "http.request", "body": form[20:], "more_body": False},
    ]
    sent = []

    async def receive():
        return waiting.pop(0) if waiting else await asyncio.get_running_loop().create_future()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/sizes",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"transfer-encoding", b"chunked"),
            (b"content-type", b"multipart/form-data; boundary=x"),
        ],
    }
    asyncio.run(WaitingHandler()(scope, receive, send))
    assert sent[1]["body"] == f"{len(form)} Ann".encode()
