"""What all of TranscribeAPI's addresses have in common is asked in test_views; here is the JSON of its bodies."""

import json

import pytest
from django.test import RequestFactory
from rest_framework.request import Request

from transcription.dialects.json_parsing import JsonParser
from transcription.dialects.transcribeapi.errors import Refused
from transcription.dialects.transcribeapi.gate import LargeJsonParser, json_of


def request_of(body, parser=LargeJsonParser):
    made = RequestFactory().post("/", body, content_type="application/json")
    return Request(made, parsers=[parser()])


def test_object_is_returned():
    assert json_of(request_of(b'{"a": 1}')) == {"a": 1}


def test_manifest_of_ten_thousand_signed_addresses_is_read():
    files = [{"url": f"https://bucket.example.com/{'x' * 1_400}/{number}"} for number in range(10_000)]
    assert len(json_of(request_of(json.dumps({"files": files})))["files"]) == 10_000


def test_larger_body_has_the_code_of_its_address():
    body = json.dumps({"a": "x" * (JsonParser.max_bytes + 1)})
    for code in ("too_many_files", "invalid_json"):
        with pytest.raises(Refused) as caught:
            json_of(request_of(body, JsonParser), too_large=code)
        assert caught.value.code == code


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'{"a": "\\ud800"}'])
def test_body_that_is_no_object(body):
    with pytest.raises(Refused) as caught:
        json_of(request_of(body))
    assert caught.value.code == "invalid_json"
