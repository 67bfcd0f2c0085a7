"""The parser of JSON bodies that dialects share: one object, of limited size. Holds no wire format."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from accounts.errors import BadRequest, TooLarge


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


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
