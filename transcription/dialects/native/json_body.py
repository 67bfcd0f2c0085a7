"""JSON bodies of the native API: the translation of a JSON object into form fields.

So a JSON request and a multipart one are read by the same code from there on.
"""

import json
from collections.abc import Mapping
from typing import Any

from accounts.errors import InvalidField, TooLarge
from transcription.dialects.json_parsing import JsonParser

# 10,000 files with signed URLs of 800 bytes.
MAX_BATCH_BODY_BYTES = 8 * 1024 * 1024
# The field of a batch, which `batch` reads.
FILES = "files"
# Fields that may be lists of texts.
LISTS = ("hotwords", "languages")
# The field that may be an object. A form has its JSON text.
OBJECT = "metadata"


class BatchJsonParser(JsonParser):
    """Reads an object that may have the files of a batch."""

    max_bytes = MAX_BATCH_BODY_BYTES

    def require_fitting(self, found: Mapping[str, Any], *, size_bytes: int) -> None:
        if size_bytes > JsonParser.max_bytes and FILES not in found:
            raise TooLarge(f"A JSON body without {FILES} may have {JsonParser.max_bytes // 1024} KiB at most.")


def as_fields(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a JSON object as a form would send them, without `files`. null is as good as none.

    Raises InvalidField for an object, a list in a field that has none, and a fraction.
    """
    return {name: text for name, value in body.items() if name != FILES and (text := _as_text(name, value)) is not None}


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
