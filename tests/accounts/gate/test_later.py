import asyncio

import pytest
from django.http import HttpResponse

from accounts.gate.later import LaterResponse


class Later(LaterResponse):
    async def respond(self):
        return HttpResponse()

    def end(self):
        pass


@pytest.mark.django_db
def test_response_that_comes_takes_the_headers_and_closers():
    later = Later()
    later.headers["X-Request-Id"] = "req_1"
    later.headers["X-Own"] = "later"
    closed = []
    later._resource_closers.append(lambda: closed.append(1))
    response = later.hand_over(HttpResponse("text", content_type="text/plain", headers={"X-Own": "final"}))
    assert dict(response.items()) == {"Content-Type": "text/plain", "X-Own": "final", "X-Request-Id": "req_1"}
    response.close()
    assert closed == [1]


def test_later_response_is_never_sent_itself():
    later = Later()
    assert (later.streaming, later.is_async) == (True, True)

    async def read():
        return [chunk async for chunk in later]

    with pytest.raises(AssertionError):
        asyncio.run(read())
