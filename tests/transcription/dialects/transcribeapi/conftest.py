"""An API key, and calls with it."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts import api_keys
from tests.dialects.faces import working
from tests.transcription.dialects.transcribeapi.calling import BASE, WAV


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="calls", by=None)[1]


@pytest.fixture
def call(key):
    """Return a call of an address with the key."""

    def call(method, path, *, as_json=None, headers=None, **fields):
        client = Client(raise_request_exception=False)
        sent = {"data": fields} if fields or as_json is None else {"data": as_json, "content_type": "application/json"}
        return getattr(client, method)(
            f"{BASE}{path}", headers={"Authorization": f"Bearer {key}", **(headers or {})}, **sent
        )

    return call


@pytest.fixture
def transcribe(call):
    """Return a call with a form; a worker does its job meanwhile."""

    def transcribe(content=WAV, *, name="talk.wav", headers=None, **fields):
        if content is not None:
            fields["file"] = SimpleUploadedFile(name, content)
        with working():
            return call("post", "/transcribe", headers=headers, **fields)

    return transcribe


@pytest.fixture
def post(call):
    """Return a call of an address with JSON, or with none."""
    return lambda path, body=None, *, method="post", headers=None: call(method, path, as_json=body, headers=headers)


@pytest.fixture
def batch(post):
    files = [{"reference_id": "a"}, {"reference_id": "b", "size_bytes": len(WAV)}]
    return post("/jobs", {"type": "batch", "files": files}).json()["job_id"]


@pytest.fixture
def big_file(post):
    return post("/jobs", {"type": "big_file"}).json()["job_id"]
