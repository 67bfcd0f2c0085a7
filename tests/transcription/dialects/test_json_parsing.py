"""The shared parser of JSON bodies: what is one object, and what is refused."""

import io
import json

import pytest
from rest_framework.exceptions import ParseError

from accounts.errors import BadRequest, TooLarge
from transcription.dialects.json_parsing import JsonParser


def parse(body):
    return JsonParser().parse(io.BytesIO(body))


def test_object_is_returned():
    assert parse(b'{"a": ["\\u00e9", 1, null]}') == {"a": ["é", 1, None]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"prompt": NaN}',
        b'{"prompt": "\\ud800"}',
        b'{"\\udfff": 1}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_body_that_is_no_json_is_refused(body):
    with pytest.raises(ParseError):
        parse(body)


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"3", b"null"])
def test_json_that_is_no_object_is_refused(body):
    with pytest.raises(BadRequest):
        parse(body)


def test_body_is_not_read_beyond_its_limit():
    body = io.BytesIO(json.dumps({"prompt": "x" * JsonParser.max_bytes}).encode() * 10)
    with pytest.raises(TooLarge):
        JsonParser().parse(body)
    assert body.tell() == JsonParser.max_bytes + 1
