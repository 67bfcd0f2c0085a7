"""Of a burst of posts, few run at once, and none of another caller waits for them."""

import asyncio

import pytest
from django.http import HttpResponse

from tests.voxsite.test_sizing_handler import scope_of
from voxsite.bursts import PLACES, Bursts
from voxsite.sizing_handler import SizingHandler


def test_others_of_the_same_caller_wait_in_order():
    async def act():
        line, running, most, order = Bursts(2), 0, 0, []

        async def one(number):
            nonlocal running, most
            async with line.place("key"):
                running += 1
                most = max(most, running)
                order.append(number)
                await asyncio.sleep(0.01)
                running -= 1

        await asyncio.gather(*map(one, range(9)))
        return most, order, line._lines

    assert asyncio.run(act()) == (2, list(range(9)), {})


def test_other_callers_and_those_without_a_key_do_not_wait():
    async def act():
        line = Bursts(1)
        async with line.place("full"), asyncio.timeout(5), line.place("other"), line.place(""), line.place(""):
            return True

    assert asyncio.run(act())


def test_one_that_leaves_in_line_takes_no_place():
    async def act():
        line = Bursts(1)

        async def wait():
            async with line.place("key"):
                pytest.fail("it has left")

        async with line.place("key"):
            leaver = asyncio.create_task(wait())
            await asyncio.sleep(0)
            leaver.cancel()
            await asyncio.gather(leaver, return_exceptions=True)
        async with asyncio.timeout(5), line.place("key"):
            return leaver.cancelled(), len(line._lines)

    assert asyncio.run(act()) == (True, 1)


class Counting(SizingHandler):
    """Tells how many requests it answered at once."""

    def __init__(self):
        super().__init__()
        self.running = self.most = 0

    async def _answer(self, request):
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.1)
        self.running -= 1
        return HttpResponse(b"{}")


FILE = "multipart/form-data; boundary=x"
JSON = "application/json"


@pytest.mark.parametrize(
    ("method", "key", "body", "content_type", "at_once"),
    [
        ("POST", "vox_1", b"{}", FILE, PLACES),
        ("POST", "vox_1", b"{}", "audio/wav", PLACES),
        ("POST", "vox_1", b" " * 70_000, JSON, PLACES),
        # A cancel, a token for a visitor.
        ("POST", "vox_1", b"", "", 3 * PLACES),
        ("POST", "vox_1", b"{}", JSON, 3 * PLACES),
        ("GET", "vox_1", b"{}", FILE, 3 * PLACES),
        ("POST", "", b"{}", FILE, 3 * PLACES),
    ],
)
def test_files_of_one_key_alone_wait(method, key, body, content_type, at_once):
    handler, statuses = Counting(), []

    async def one():
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message):
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = scope_of("/v1/upload", body, key=key, content_type=content_type, method=method)
        await handler(scope, receive, send)

    async def act():
        await asyncio.gather(*(one() for _ in range(3 * PLACES)))

    asyncio.run(act())
    assert statuses == [200] * 3 * PLACES
    assert handler.most == at_once
