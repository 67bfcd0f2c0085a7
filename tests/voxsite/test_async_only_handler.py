"""The chat endpoint's lane, spoken to as a server does."""

import asyncio
import json

import pytest

from voxsite.asgi import application


def speak(messages, *, headers=(), path="/v1/apex/nothing", method="POST"):
    """Return what is sent for the messages that come; afterwards the client stays."""
    sent = []

    async def act():
        waiting = list(messages)

        async def receive():
            if waiting:
                return waiting.pop(0)
            return await asyncio.get_running_loop().create_future()

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "scheme": "http",
            "server": ("localhost", 80),
            "headers": [(b"host", b"localhost"), *headers],
        }
        await asyncio.wait_for(application(scope, receive, send), 20)

    asyncio.run(act())
    return sent


BODY = {"type": "http.request", "body": b"", "more_body": False}


def test_answer_has_the_headers_of_the_middleware_that_is_passed_by():
    start, end = speak([BODY])
    headers = dict(start["headers"])
    assert start["status"] == 404
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert headers[b"Cache-Control"] == b"no-store"
    assert int(headers[b"Content-Length"]) == len(end["body"])
    assert json.loads(end["body"])["error"]["type"] == "not_found"


@pytest.mark.parametrize(
    "content_type", [b"application/json; charset*=x'y'z", b"\xff; a*=nope'en'%ff", b"a; charset=punycode"]
)
def test_odd_content_type_is_no_error_of_the_site(content_type):
    start, _ = speak([BODY], headers=[(b"content-type", content_type)], path="/v1/apex/chat/completions")
    assert start["status"] == 401


def test_plain_http_is_redirected_where_the_site_says_so(settings):
    from voxsite.async_only_handler import AsyncOnlyHandler

    settings.SECURE_SSL_REDIRECT = True
    lane = AsyncOnlyHandler()
    sent = []

    async def receive():
        return BODY

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/apex/models",
        "query_string": b"",
        "scheme": "http",
        "server": ("localhost", 80),
        "headers": [(b"host", b"localhost")],
    }
    asyncio.run(lane(scope, receive, send))
    assert sent[0]["status"] == 301
    assert dict(sent[0]["headers"])[b"Location"] == b"https://localhost/v1/apex/models"


def test_client_that_leaves_in_the_middle_of_its_body_is_not_answered():
    headers = [(b"content-length", b"9")]
    assert speak([{**BODY, "more_body": True}, {"type": "http.disconnect"}], headers=headers) == []


@pytest.mark.parametrize("path", ["/v1/apex", "/v1/apexes", "/v1/jobs"])
def test_other_addresses_go_the_usual_way(path, db):
    start, *_ = speak([BODY], path=path, method="GET")
    assert dict(start["headers"]).get(b"Content-Security-Policy")
