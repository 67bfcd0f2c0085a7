"""The description of Deepgram's API against what `query` takes and `wire` answers: the same fields, all of them."""

from accounts.errors import VoxsiteError
from accounts.gate.views import data_fields
from tests.transcription.dialects.deepgram.test_wire import TALK, made, show
from tests.transcription.dialects.native.test_schema import described
from transcription.dialects.deepgram import query, schema, wire

EVERYTHING = "smart_format=true&diarize=true&utterances=true&detect_language=true&tag=a&extra=a:b&numerals=true"


def answered(value):
    """Return the fields of an answer as such a tree. Of a list the first object counts."""
    if isinstance(value, list) and value:
        value = value[0]
    return {name: answered(inner) for name, inner in value.items()} if isinstance(value, dict) else None


def test_parameters_are_those_that_have_an_effect():
    assert {one.name for one in schema.PARAMETERS} == query.SUPPORTED


def test_answer_has_the_described_fields():
    shown = answered(show(made(*TALK), EVERYTHING))
    expected = described(schema.Answer)
    # Names of models are keys there, and a reader's own names.
    assert shown["metadata"].pop("model_info").popitem()[1] == {"name": None, "version": None, "arch": None}
    shown["metadata"].pop("extra")
    for name in ("model_info", "extra"):
        assert name in expected["metadata"]
        expected["metadata"].pop(name)
    # `languages` stands in answers to language=multi alone.
    alternative = expected["results"]["channels"]["alternatives"]
    assert alternative.pop("languages", "missing") is None
    assert shown == expected


def test_error_has_the_described_fields():
    shown = answered(wire.show_error(VoxsiteError(), request_id="req_1"))
    assert shown.keys() == described(schema.ERROR).keys() - data_fields().keys()
