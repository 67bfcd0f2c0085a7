"""Groq's packages find what they look for under their own prefix."""

import asyncio

import pytest

from accounts import api_keys
from tests.asgi_stream import AsgiStream
from voxsite.groq_addresses import GroqAddresses

pytestmark = pytest.mark.django_db(transaction=True)


def ask(path, *, key="", method="GET", body=b"", headers=None):
    async def act():
        request = AsgiStream(path, key=key, method=method, body=body, headers=headers or {})
        await request.end()
        return request

    return asyncio.run(act())


def test_models_of_groqs_packages(organization):
    key = api_keys.issue(organization, name="groq", by=None)[1]
    answers = [ask(path, key=key).json for path in ("/openai/v1/models", "/v1/models")]
    assert answers[0] == answers[1]


def test_errors_and_limits_are_those_of_the_address_itself():
    answer = ask("/openai/v1/audio/transcriptions", method="POST", body=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status == 401
    assert answer.json["error"]["code"] == "missing_api_key"


@pytest.mark.parametrize(
    "path", ["/openai/v1/keys", "/openai/", "/openai/v1/audio", "/openai//v1/audio/transcriptions"]
)
def test_nothing_else_is_there(path):
    assert ask(path).status == 404


def test_everything_but_a_request_is_handed_on_as_it_is():
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)

    scope = {"type": "lifespan"}
    asyncio.run(GroqAddresses(application)(scope, None, None))
    assert seen == [scope]
