"""Reads the parameters of a request by stripe-python's own types, as strictly as Stripe. Pure.

`stripe.params` has a TypedDict for the parameters of every API method. `parse` refuses what the TypedDict does not
declare: unknown parameters, at any depth, and values of another type. `require_all_read` refuses what Stripe knows but
no code of the sandbox has looked at. So no parameter can be ignored silently.
"""

import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from stripe import RequestOptions

from billing.sandbox import shapes

# RequestOptions are sent as headers. Two of their types cannot be resolved at run time; no value of them is read.
_UNRESOLVED_NAMES = {"Mapping": Mapping, "StripeContext": object}
_INTEGER = re.compile(r"-?[0-9]+")


class ApiError(Exception):
    """Stripe answers with an error, and nothing changes.

    message: for the log. kind, code, param: the fields of Stripe's error object; empty ones are left out.
    """

    def __init__(
        self, message: str, *, status: int = 400, kind: str = "invalid_request_error", code: str = "", param: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"type": kind, "message": message}
        self.error |= {"code": code} if code else {}
        self.error |= {"param": param} if param else {}


class Parameters(Mapping[str, Any]):
    """The parameters of a request, or a nested object of them. Remembers which of them were read."""

    def __init__(self, values: dict[str, Any], *, path: str) -> None:
        self._values = values
        self._path = path
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def require_all_read(self) -> None:
        """Raise ApiError if there is a parameter that nothing has read, here or in a nested object."""
        for name, value in self._values.items():
            if name not in self._read:
                shown = _join(self._path, name)
                raise ApiError(f"The payment sandbox does not support this parameter: {shown}", param=shown)
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Parameters):
                    part.require_all_read()


def parse(given: Mapping[str, Any], params_type: type) -> Parameters:
    """Return the parameters with the types of a TypedDict of stripe.params. Raises ApiError.

    given: nested dicts of texts, as `form_encoding.decode` returns them. Nested objects become Parameters too.
    """
    return _parse_object(given, params_type, "")


def payable(amount: int, currency: str) -> int:
    """Return the amount in cents if Stripe would charge it. Raises ApiError."""
    if currency != "usd":
        raise ApiError(f"The payment sandbox supports only usd, not {currency}.", param="currency")
    if amount < shapes.MIN_CENTS:
        raise ApiError("The amount must be at least $0.50 usd.", code="amount_too_small", param="amount")
    if amount > shapes.MAX_CENTS:
        raise ApiError("Amount must be no more than $999,999.99", code="amount_too_large", param="amount")
    return amount


def metadata_of(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata: at most 50 keys of 40 characters, values of 500 (docs.stripe.com/api/metadata)."""
    metadata: dict[str, str] = params.get("metadata") or {}
    if len(metadata) > 50 or any(len(name) > 40 or len(value) > 500 for name, value in metadata.items()):
        raise ApiError(
            "Metadata has at most 50 keys of up to 40 characters, with values of up to 500.", param="metadata"
        )
    return metadata


def _parse_object(given: Any, wanted: Any, path: str) -> Parameters:
    fields = typing.get_type_hints(wanted, localns=_UNRESOLVED_NAMES)
    for name in given:
        if name not in fields or name in RequestOptions.__annotations__:
            shown = _join(path, name)
            raise ApiError(f"Received unknown parameter: {shown}", code="parameter_unknown", param=shown)
    for name in sorted(wanted.__required_keys__ - given.keys()):
        shown = _join(path, name)
        raise ApiError(f"Missing required param: {shown}.", code="parameter_missing", param=shown)
    values = {name: _parse(value, fields[name], _join(path, name)) for name, value in given.items()}
    return Parameters(values, path=path)


def _parse(given: Any, wanted: Any, path: str) -> Any:
    """Return a value as its type declares it. given: a text or a dict."""
    options = _options(wanted)
    if isinstance(given, dict):
        return _parse_container(given, options, path)
    choices = [choice for option in options for choice in typing.get_args(option) if _is_literal(option)]
    if given in choices:
        return given
    if bool in options and given in {"true", "false"}:
        return given == "true"
    if int in options and _INTEGER.fullmatch(given):
        return int(given)
    # `Literal["a", "b"] | str` names the values that Stripe accepts today. `Literal[""] | str` is any text.
    if str in options and not any(choices):
        return given
    if int in options:
        raise ApiError(f"Invalid integer: {given}", code="parameter_invalid_integer", param=path)
    if any(choices):
        raise ApiError(f"Invalid {path}: must be one of {', '.join(filter(None, choices))}", param=path)
    raise ApiError(f"Invalid value of {path}: {given}", param=path)


def _parse_container(given: dict[str, Any], options: list[Any], path: str) -> Any:
    for option in options:
        if hasattr(option, "__required_keys__"):
            return _parse_object(given, option, path)
        if typing.get_origin(option) is list and all(name.isdecimal() for name in given):
            (item_type,) = typing.get_args(option)
            items = [given[name] for name in sorted(given, key=int)]
            return [_parse(item, item_type, f"{path}[{number}]") for number, item in enumerate(items)]
        if typing.get_origin(option) is dict:
            (_, value_type) = typing.get_args(option)
            return {name: _parse(value, value_type, _join(path, name)) for name, value in given.items()}
    raise ApiError(f"Invalid object: {path}", param=path)


def _options(wanted: Any) -> list[Any]:
    """Return the members of a union; any other type alone."""
    is_union = typing.get_origin(wanted) in {typing.Union, types.UnionType}
    return list(typing.get_args(wanted)) if is_union else [wanted]


def _is_literal(wanted: Any) -> bool:
    return typing.get_origin(wanted) is typing.Literal


def _join(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name
