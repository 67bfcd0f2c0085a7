"""The description of the chat endpoint against what it really takes and answers."""

import json

import pytest

from accounts.errors import InvalidField, MissingField
from apex import catalogue, schema, wire

CREATE = schema.OPERATIONS["chat/completions"]["post"]
PROPERTIES = schema.REQUEST["properties"]


def read(**fields):
    body = {"model": "apex-latest", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return wire.read_request(json.dumps(body).encode(), max_completion_tokens={"apex-latest": 65_536})


def test_defaults_are_those_of_the_endpoint():
    temperature = catalogue.find("apex-latest").temperature
    assert PROPERTIES["temperature"]["description"].startswith(f"{temperature} for apex-latest")
    assert PROPERTIES["max_tokens"]["default"] == read().completion_tokens
    assert PROPERTIES["stream"]["default"] is read().is_stream


@pytest.mark.parametrize("name", ["temperature", "max_tokens"])
def test_limits_are_those_of_the_endpoint(name):
    described = PROPERTIES[name]
    read(**{name: described["minimum"]})
    with pytest.raises(InvalidField):
        read(**{name: described["minimum"] - 1})
    if "maximum" in described:
        read(**{name: described["maximum"]})
        with pytest.raises(InvalidField):
            read(**{name: described["maximum"] + 1})


@pytest.mark.parametrize("name", schema.REQUEST["required"])
def test_required_fields_are_those_of_the_endpoint(name):
    with pytest.raises(MissingField):
        read(**{name: None})


def test_error_has_the_described_fields():
    shown = wire.show_error(InvalidField("model", "No."), request_id="req_1")["error"]
    assert set(shown) == set(schema.ERROR["properties"]["error"]["required"])


def test_models_have_the_described_fields():
    shown = wire.show_models({"apex-latest": 100})
    assert set(shown) == set(schema.MODELS["properties"])
    assert set(shown["data"][0]) == set(schema.MODELS["properties"]["data"]["items"]["properties"])


def test_every_status_says_what_it_means():
    for operation in (CREATE, schema.OPERATIONS["models"]["get"]):
        for status, response in operation["responses"].items():
            assert response["description"], status
