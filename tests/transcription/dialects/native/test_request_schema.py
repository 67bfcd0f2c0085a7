"""The description of bodies of requests against what `wire` takes: the same fields, all of them."""

import pytest

from transcription.dialects.native import request_schema, wire
from transcription.speech import options


def test_request_has_the_fields_that_are_taken():
    assert set(request_schema.TranscribeRequest.fields) == set(wire.FIELDS) - {"files"}


def test_json_request_has_the_fields_of_the_form_but_the_file():
    assert set(request_schema.TranscribeJsonRequest.fields) == set(wire.FIELDS) - {"file"}
    assert set(request_schema.UploadRequest.fields) == set(wire.UPLOAD_FIELDS)


@pytest.mark.parametrize("name", ["num_speakers", "min_speakers", "max_speakers", "prompt"])
def test_limits_of_the_request_are_those_of_the_endpoint(name):
    field = request_schema.TranscribeRequest.fields[name]
    limit = field.max_length if name == "prompt" else field.max_value
    assert limit == (options.MAX_PROMPT_LENGTH if name == "prompt" else options.MAX_SPEAKERS)
