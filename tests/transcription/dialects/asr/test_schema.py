"""The description of whisper-asr-webservice's API against what `wire` answers: the same fields, all of them."""

from accounts.errors import VoxsiteError
from accounts.gate.views import data_fields
from tests.transcription.dialects.asr.test_wire import made, read
from tests.transcription.dialects.native.test_schema import answered, described
from transcription.dialects.asr import schema, wire


def test_result_has_the_described_fields():
    result = wire.show_result(made(), asked=read(diarize="true", word_timestamps="true"))
    assert answered(result) == described(schema.Result)


def test_language_has_the_described_fields():
    assert answered(wire.show_language(made())) == described(schema.DetectedLanguage)


def test_error_has_the_described_fields():
    shown = answered(wire.show_error(VoxsiteError(), request_id="req_1"))
    assert shown.keys() == described(schema._ERROR).keys() - data_fields().keys()


def test_outputs_are_described():
    [output] = [one for one in schema.PARAMETERS if one.name == "output"]
    assert tuple(output.enum) == wire.OUTPUTS
