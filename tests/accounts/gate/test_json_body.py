"""How the body of a request becomes fields, and which fault is told of one."""

import pytest
from rest_framework import serializers

from accounts.errors import BadRequest, InvalidField, MissingField, UnknownField
from accounts.gate import json_body


class Body(serializers.Serializer):
    count = serializers.IntegerField(min_value=1)
    names = serializers.ListField(child=serializers.CharField(max_length=3), required=False)


def test_fields_are_read():
    assert json_body.read(Body, {"count": 7, "names": ["a"]}) == {"count": 7, "names": ["a"]}
    assert json_body.read(Body, {"count": 7}) == {"count": 7}


@pytest.mark.parametrize(
    ("body", "fault", "param"),
    [
        ([], BadRequest, None),
        ("text", BadRequest, None),
        (None, BadRequest, None),
        ({}, MissingField, "count"),
        ({"count": 1, "name": "a"}, UnknownField, "name"),
        ({"count": None}, InvalidField, "count"),
        ({"count": 0}, InvalidField, "count"),
        ({"count": 1, "names": ["ok", "too long"]}, InvalidField, "names"),
        ({"count": 1, "names": {"a": 1}}, InvalidField, "names"),
    ],
)
def test_fault_names_its_field(body, fault, param):
    with pytest.raises(fault) as caught:
        json_body.read(Body, body)
    assert caught.value.data.get("param") == param
