import io
import json

import pytest
from rest_framework.exceptions import ParseError

from accounts.errors import BadRequest, InvalidField, TooLarge
from transcription.dialects.native import json_body


def parse(body):
    return json_body.JsonParser().parse(io.BytesIO(body))


def test_object_becomes_the_fields_of_a_form():
    body = parse(
        b'{"file_id": "x", "diarize": false, "mixed_languages": true, "num_speakers": 2, "language": null,'
        b' "hotwords": ["Voxsite", "Redis"], "languages": ["en", "de"], "prompt": "\\u00e9"}'
    )
    assert json_body.as_fields(body) == {
        "file_id": "x",
        "diarize": "false",
        "mixed_languages": "true",
        "num_speakers": "2",
        "hotwords": "Voxsite,Redis",
        "languages": "en,de",
        "prompt": "é",
    }


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
    body = io.BytesIO(json.dumps({"prompt": "x" * json_body.MAX_BYTES}).encode() * 10)
    with pytest.raises(TooLarge):
        json_body.JsonParser().parse(body)
    assert body.tell() == json_body.MAX_BYTES + 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", {"text": "x"}),
        ("prompt", ["x"]),
        ("diarize", 0.5),
        ("num_speakers", 2.0),
        ("hotwords", ["x", 1]),
        ("languages", {"en": True}),
    ],
)
def test_value_of_a_wrong_kind_is_refused_by_name(name, value):
    with pytest.raises(InvalidField) as caught:
        json_body.as_fields({name: value})
    assert caught.value.data["param"] == name
