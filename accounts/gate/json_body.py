"""Reads JSON bodies of the native API by DRF's serializers, and says what is wrong in the words of the gate."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from accounts.errors import BadRequest, InvalidField, MissingField, refuse_unknown


def read(serializer_class: type[serializers.Serializer[Any]], body: object) -> dict[str, Any]:
    """Return the fields that a body has, as its serializer reads them.

    Raises BadRequest unless it is an object, UnknownField, MissingField and InvalidField.
    """
    if not isinstance(body, Mapping):
        raise BadRequest("Send a JSON object, with Content-Type: application/json.")
    serializer = serializer_class(data=body)
    refuse_unknown(body, known=sorted(serializer.fields))
    if not serializer.is_valid():
        _raise_first(serializer.errors)
    return dict(serializer.validated_data)


def _raise_first(errors: Mapping[str, Any]) -> None:
    """Raise the first error. A list or an object within a field is an error of that field."""
    name, found = next(iter(errors.items()))
    while not isinstance(found, ErrorDetail):
        found = next(iter(found.values() if isinstance(found, Mapping) else found))
    if found.code == "required":
        raise MissingField(name)
    raise InvalidField(name, f"'{name}': {found}")
