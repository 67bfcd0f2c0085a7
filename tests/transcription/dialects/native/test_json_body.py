import json

import pytest

from accounts.errors import InvalidField
from transcription.dialects.native import json_body


def test_object_becomes_the_fields_of_a_form():
    body = json.loads(
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
