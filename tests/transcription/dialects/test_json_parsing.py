"""The shared parsers of JSON bodies and of metadata: what is taken, and what is refused."""

import io
import json

import pytest
from rest_framework.exceptions import ParseError

from accounts.errors import BadRequest, InvalidField, TooLarge
from transcription.dialects import json_parsing
from transcription.dialects.json_parsing import JsonParser

PAIRS = {"order": "7", "customer": "Zoë \U0001f600", "empty": ""}


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


def test_metadata_is_a_json_object_of_texts():
    assert json_parsing.read_metadata({}) == json_parsing.read_metadata({"metadata": " "}) == {}
    assert json_parsing.read_metadata({"metadata": json.dumps(PAIRS)}) == PAIRS
    largest = {f"{number:064}": "x" * 512 for number in range(16)}
    assert json_parsing.read_metadata({"metadata": json.dumps(largest)}) == largest


@pytest.mark.parametrize(
    "bad",
    [
        "order=7",
        "{",
        "[]",
        '"text"',
        "null",
        '{"order": 7}',
        '{"order": null}',
        '{"order": {"id": "7"}}',
        '{"": "x"}',
        '{"a": "\\u0000"}',
        '{"\\u0000": "x"}',
        '{"a": "\\ud800"}',
        "[" * 50_000,
        json.dumps({"x" * 65: "x"}),
        json.dumps({"x": "x" * 513}),
        json.dumps({str(number): "x" for number in range(17)}),
    ],
)
def test_other_metadata_is_refused(bad):
    with pytest.raises(InvalidField) as caught:
        json_parsing.read_metadata({"metadata": bad})
    assert caught.value.data["param"] == "metadata"
