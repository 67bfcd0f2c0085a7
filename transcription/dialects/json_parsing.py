"""What dialects share of JSON: the parser of bodies, which are one object of limited size, and that of metadata."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from accounts.errors import BadRequest, InvalidField, TooLarge

MAX_METADATA_PAIRS = 16
MAX_METADATA_NAME = 64
MAX_METADATA_VALUE = 512


class JsonParser(BaseParser):
    """Reads a JSON object. Django limits forms, but not the bodies that a parser reads itself."""

    media_type = "application/json"
    # All fields of a request at their limits are less than half of it.
    max_bytes: ClassVar[int] = 256 * 1024

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> dict[str, Any]:
        """Return the object. Raises ParseError, BadRequest and TooLarge."""
        body = stream.read(self.max_bytes + 1)
        if len(body) > self.max_bytes:
            raise TooLarge(f"A JSON body may have {self.max_bytes // 1024} KiB at most.")
        try:
            # A lone surrogate, such as "\ud800", is JSON and no text: neither database nor answer could hold it.
            found = json.loads(body, parse_constant=_refuse_constant)
            json.dumps(found, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise ParseError from error
        if not isinstance(found, dict):
            raise BadRequest("The body must be a JSON object.")
        self.require_fitting(found, size_bytes=len(body))
        return found

    def require_fitting(self, found: Mapping[str, Any], *, size_bytes: int) -> None:
        """Raise TooLarge for an object that may not be as large as others here. All may, unless a subclass says no."""


def read_metadata(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the customer's pairs of texts from a JSON object. Raises InvalidField for anything else.

    The limits are those of OpenAI's API (API reference, "metadata", read 2026-11-29).
    """
    text = fields.get("metadata", "").strip()
    if not text:
        return {}
    try:
        pairs = json.loads(text)
        # A lone surrogate is JSON and no text.
        json.dumps(pairs, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidField("metadata", "metadata must be a JSON object of texts.") from error
    if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
        raise InvalidField("metadata", "metadata must be a JSON object of texts.")
    if len(pairs) > MAX_METADATA_PAIRS:
        raise InvalidField("metadata", f"metadata may have {MAX_METADATA_PAIRS} pairs at most.")
    for name, value in pairs.items():
        if not 1 <= len(name) <= MAX_METADATA_NAME or len(value) > MAX_METADATA_VALUE:
            raise InvalidField(
                "metadata",
                f"A name in metadata has 1 to {MAX_METADATA_NAME} characters, a value at most {MAX_METADATA_VALUE}.",
            )
        if "\x00" in name + value:
            raise InvalidField("metadata", "metadata has a NUL character in it.")
    return pairs


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
