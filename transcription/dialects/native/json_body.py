"""JSON bodies of the native API: a parser with a limit, and the translation of a JSON object into form fields.

So a JSON request and a multipart one are read by the same code from there on.
"""

import json
from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from accounts.errors import BadRequest, InvalidField, TooLarge

# All fields of a request at their limits are less than half of it.
MAX_BYTES = 256 * 1024
# Fields that may be lists of texts.
LISTS = ("hotwords", "languages")
# The field that may be an object. A form has its JSON text.
OBJECT = "metadata"


class JsonParser(BaseParser):
    """Reads a small JSON object. Django limits forms, but not the bodies that a parser reads itself."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> dict[str, Any]:
        """Return the object. Raises ParseError, BadRequest and TooLarge."""
        body = stream.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise TooLarge(f"A JSON body may have {MAX_BYTES // 1024} KiB at most.")
        try:
            # A lone surrogate, such as "\ud800", is JSON and no text: neither database nor answer could hold it.
            found = json.loads(body, parse_constant=_refuse_constant)
            json.dumps(found, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise ParseError from error
        if not isinstance(found, dict):
            raise BadRequest("The body must be a JSON object.")
        return found


def as_fields(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a JSON object as a form would send them. null is as good as none.

    Raises InvalidField for an object, a list in a field that has none, and a fraction.
    """
    return {name: text for name, value in body.items() if (text := _as_text(name, value)) is not None}


def _as_text(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if name == OBJECT and isinstance(value, dict):
        return json.dumps(value)
    if name in LISTS and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    expected = "a text or a list of texts" if name in LISTS else "a text, a whole number, true or false"
    raise InvalidField(name[:64], f"{name[:64]} must be {expected}.")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
