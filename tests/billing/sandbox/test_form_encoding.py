"""Decoding of what stripe-python encodes."""

from urllib.parse import urlencode

from stripe._encode import _api_encode

from billing.sandbox import form_encoding


def test_nested_parameters_are_decoded():
    encoded = urlencode(list(_api_encode({"a": "1", "b": {"c": [{"d": "x y"}, {"d": "ü&="}]}, "e": ["f"], "g": ""})))
    assert form_encoding.decode(encoded) == {
        "a": "1",
        "b": {"c": {"0": {"d": "x y"}, "1": {"d": "ü&="}}},
        "e": {"0": "f"},
        "g": "",
    }


def test_items_without_numbers_are_numbered():
    assert form_encoding.decode("expand[]=a&expand[]=b") == {"expand": {"0": "a", "1": "b"}}
