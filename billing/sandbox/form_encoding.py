"""Stripe's form encoding, `a[b][0]=c`, read back into dicts and lists. Pure."""

import re
from typing import Any
from urllib.parse import parse_qsl

_PART = re.compile(r"[^\[\]]+")


def decode(text: str) -> dict[str, Any]:
    """Return the parameters; every leaf is a text. What has only numbers for keys becomes a list."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        *path, last = _PART.findall(name)
        node = found
        for part in path:
            node = node.setdefault(part, {})
        # `expand[]=a&expand[]=b` has no numbers.
        if name.endswith("[]"):
            node = node.setdefault(last, {})
            last = str(len(node))
        node[last] = value
    return {name: _with_lists(value) for name, value in found.items()}


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    read = {name: _with_lists(part) for name, part in value.items()}
    if read and all(name.isdecimal() for name in read):
        return [read[name] for name in sorted(read, key=int)]
    return read
