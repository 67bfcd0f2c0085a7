"""Decodes Stripe's form encoding, `a[b][0]=c`, into nested dicts. Pure."""

import re
from typing import Any
from urllib.parse import parse_qsl

_PART = re.compile(r"[^\[\]]+")


def decode(text: str) -> dict[str, Any]:
    """Return the parameters: nested dicts whose leaves are texts.

    A list becomes a dict with the keys "0", "1" ... Only the type of the parameter can tell a list from an object: in
    metadata, names may be numbers too.
    """
    decoded: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        *path, last = _PART.findall(name)
        node = decoded
        for part in path:
            node = node.setdefault(part, {})
        # The items of `expand[]=a&expand[]=b` have no numbers.
        if name.endswith("[]"):
            node = node.setdefault(last, {})
            last = str(len(node))
        node[last] = value
    return decoded
