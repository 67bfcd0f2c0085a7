"""The types of errors that the source can tell of, held against the enum that dialects map."""

import ast
from pathlib import Path

import pytest
from django.conf import settings

from accounts.error_types import ErrorType
from accounts.errors import VoxsiteError
from transcription.speech.errors import SpeechError

APPS = ("accounts", "billing", "transcription", "apex", "voxsite")


def subclasses(kind):
    return [kind, *(below for child in kind.__subclasses__() for below in subclasses(child))]


def literal_types(tree):
    """Return the text of each `error_type="..."` in a call."""
    return {
        keyword.value.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "error_type" and isinstance(keyword.value, ast.Constant)
    }


def told():
    """Return every type that the source can tell, with where it stands."""
    found = {}
    for app in APPS:
        for path in Path(settings.BASE_DIR, app).rglob("*.py"):
            for name in literal_types(ast.parse(path.read_text())):
                found[name] = path.name
    for kind in subclasses(VoxsiteError):
        found[kind.default_type] = kind.__name__
    for kind in subclasses(SpeechError):
        found[kind.type] = kind.__name__
    return found


@pytest.mark.long
def test_every_type_that_is_told_is_in_the_enum():
    assert {name: where for name, where in told().items() if name not in set(ErrorType)} == {}


@pytest.mark.long
def test_every_type_of_the_enum_can_be_told():
    assert set(ErrorType) - set(told()) == set()


def test_type_that_no_dialect_can_map_is_a_fault_of_the_source():
    with pytest.raises(ValueError, match="is not a valid ErrorType"):
        VoxsiteError("Something", error_type="brand_new")


def test_type_is_text_on_the_wire():
    assert f"{VoxsiteError().type}" == "internal_error"
