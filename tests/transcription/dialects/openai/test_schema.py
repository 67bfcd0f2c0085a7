"""The description of OpenAI's audio API against what `answers` makes, and what `wire` reads."""

import pytest
from jsonschema import Draft202012Validator

from accounts.errors import InvalidField
from tests.transcription.dialects.openai.test_answers import SILENT, SPOKEN, asked
from transcription.dialects.openai import answers, schema, wire

SCHEMAS = {
    "json": "OpenAiTranscription",
    "verbose_json": "OpenAiTranscriptionVerbose",
    "diarized_json": "OpenAiTranscriptionDiarized",
}


@pytest.fixture
def validate(client, db):
    """Return a check that a value has the described fields and no others."""
    document = client.get("/openapi.json").json()

    def check(name, value):
        components = document["components"]["schemas"]
        strict = {
            each: {**described, "additionalProperties": False} if described.get("type") == "object" else described
            for each, described in components.items()
        }
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": strict}}
        Draft202012Validator(schema).validate(value)

    return check


@pytest.mark.parametrize("transcript", [SPOKEN, SILENT], ids=["spoken", "silent"])
@pytest.mark.parametrize("response_format", SCHEMAS)
def test_answers_have_the_described_fields(validate, transcript, response_format):
    wanted = asked(response_format, ("segment", "word"), has_logprobs=True, has_cost=True)
    validate(SCHEMAS[response_format], answers.show(transcript, asked=wanted, job_id="7", cost_micros=1))


@pytest.mark.parametrize("response_format", SCHEMAS)
def test_each_answer_fits_the_description_of_all(client, db, response_format):
    """An answer that fits two shapes, as verbose_json does, would break a description that allows one alone."""
    wanted = asked(response_format, ("segment", "word"), has_logprobs=True, has_cost=True)
    described = {"$ref": "#/components/schemas/OpenAiAnswer", **client.get("/openapi.json").json()}
    Draft202012Validator(described).validate(answers.show(SPOKEN, asked=wanted, job_id="7", cost_micros=1))


@pytest.mark.parametrize("response_format", ["json", "diarized_json"])
def test_events_have_the_described_names(response_format):
    wanted = asked(response_format, ("segment",), has_logprobs=False, has_cost=False)
    events = b"".join(answers.end_events(SPOKEN, shown="", asked=wanted, job_id="7", cost_micros=1))
    events += answers.error_event(wire.show_error(InvalidField("model", "No."), request_id="req_1"))
    names = {line.removeprefix("event: ") for line in events.decode().splitlines() if line.startswith("event: ")}
    assert names <= set(schema.Event.fields["event"].choices)


def test_errors_have_the_described_fields(validate):
    validate("OpenAiError", wire.show_error(InvalidField("model", "No."), request_id="req_1"))


def test_fields_of_a_form_and_of_json_are_the_same_but_for_the_recording():
    form, body = set(schema.FormRequest.fields), set(schema.JsonRequest.fields)
    assert form - {"file"} == body - {"input_audio"}
    assert set(wire.LISTS) & form == {"languages", "keywords", "include", "timestamp_granularities"}
