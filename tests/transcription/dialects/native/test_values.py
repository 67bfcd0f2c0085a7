import pytest

from accounts.errors import InvalidField
from transcription.dialects.native import values


def refused(read, value, **more):
    with pytest.raises(InvalidField) as caught:
        read({"field": value}, "field", **more)
    return caught.value.data["param"] == "field"


def test_empty_value_is_as_good_as_none():
    for fields in ({}, {"field": ""}, {"field": " "}):
        assert values.flag(fields, "field", default=True) is True
        assert values.whole(fields, "field", default=7, minimum=1) == 7
        assert values.decimal(fields, "field", default=1.5) == 1.5
        assert values.choice(fields, "field", ("a", "b")) == "a"


def test_values_are_read():
    assert values.flag({"field": "TRUE"}, "field", default=False) is True
    assert values.flag({"field": "0"}, "field", default=True) is False
    assert values.whole({"field": " 12 "}, "field", default=0, minimum=1) == 12
    assert values.decimal({"field": "0.25"}, "field", default=0) == 0.25
    assert values.choice({"field": "b"}, "field", ("a", "b")) == "b"
    assert values.text({"field": " x"}, "field") == " x"


@pytest.mark.parametrize("value", ["-1", "0", "1.0", "1e3", "٣", "1" * 10, "one", "1 000"])
def test_number_that_is_not_whole_is_refused(value):
    assert refused(values.whole, value, default=0, minimum=1)


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e3", "1.", ".5", "12345"])
def test_number_that_is_no_decimal_is_refused(value):
    assert refused(values.decimal, value, default=0)


def test_other_values_are_refused():
    assert refused(values.flag, "yes", default=True)
    assert refused(values.choice, "c", choices=("a", "b"))
    assert refused(values.text, "a\x00b")


def test_long_value_is_cut_in_a_message():
    assert values.short("x" * 41) == "x" * 40 + "…"
    assert values.short("x" * 40) == "x" * 40
