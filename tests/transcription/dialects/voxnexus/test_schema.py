"""The description of VoxNexus's API against what `wire` takes and answers: the same fields, all of them."""

from datetime import UTC, datetime

from tests.transcription.dialects.voxnexus.test_wire import OFFERS, REQUIRED, SPOKEN
from transcription.dialects.voxnexus import schema, wire


def shown(**fields):
    flags = {"enable_timestamps": "1", "enable_speaker_diarization": "1"}
    request = wire.read_query({**REQUIRED, **flags}, offers=OFFERS)
    return wire.show_result(SPOKEN, request=request, request_id="req_1", created_at=datetime.now(UTC), **fields)


def test_parameters_are_those_that_are_read():
    described = {parameter.name: parameter for parameter in schema.PARAMETERS if parameter.location == "query"}
    assert set(described) == set(wire.PARAMETERS)
    assert {name for name, parameter in described.items() if parameter.required} == set(REQUIRED)


def test_answer_has_the_fields_that_are_described():
    document = shown(note="Not rewritten.")
    fields = schema.SpeechResult.fields
    assert set(document) == set(fields)
    for name in ("words", "speakers"):
        assert set(document[name][0]) == set(fields[name].child.fields)


def test_fields_that_may_be_absent_are_optional():
    request = wire.read_query(REQUIRED, offers=OFFERS)
    silent = wire.show_result(
        type(SPOKEN)(language=None, language_probability=None, duration_ms=5, segments=(), engine="x"),
        request=request,
        request_id="req_1",
        created_at=datetime.now(UTC),
    )
    required = {name for name, field in schema.SpeechResult.fields.items() if field.required}
    assert set(silent) == required
