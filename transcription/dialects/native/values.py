"""Values of form fields and queries, read from text; an empty one is as good as none. Raises InvalidField by name."""

import re
from collections.abc import Mapping

from accounts.errors import InvalidField


def short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:40]}…"


def text(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if "\x00" in value:
        # PostgreSQL cannot keep it (and no recording is about it).
        raise InvalidField(name, f"{name} has a NUL character in it.")
    return value


def choice(fields: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = fields.get(name, "").strip() or choices[0]
    if value not in choices:
        raise InvalidField(name, f"{name} must be {' or '.join(choices)}.")
    return value


def flag(fields: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = fields.get(name, "").strip().lower()
    if value in {"", "true", "1", "false", "0"}:
        return default if not value else value in {"true", "1"}
    raise InvalidField(name, f"{name} must be true or false.")


def whole(fields: Mapping[str, str], name: str, *, default: int, minimum: int) -> int:
    value = fields.get(name, "").strip()
    if not value:
        return default
    # isdecimal() alone takes digits of every script, and int() a thousand of them.
    if not (value.isascii() and value.isdecimal() and len(value) <= 9) or int(value) < minimum:
        raise InvalidField(name, f"{name} must be a whole number of at least {minimum}.")
    return int(value)


def decimal(fields: Mapping[str, str], name: str, *, default: float) -> float:
    value = fields.get(name, "").strip()
    if not value:
        return default
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", value):
        raise InvalidField(name, f"{name} must be a number, such as 1.5.")
    return float(value)
