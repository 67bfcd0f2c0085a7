"""Sessions in the database whose key is one that we made: 32 characters of a to z and 0 to 9, as Django generates them.

Django itself looks up whatever text of 8 characters a cookie holds; PostgreSQL refuses one with a NUL, which made an
error 500 of every page.
"""

import re

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

WELL_FORMED_KEY = re.compile(r"[a-z0-9]{32}")


# The name is Django's own on purpose: it salts the signature of what is stored, and an engine is found by it.
class SessionStore(DatabaseStore):
    """A session, empty for a key that we cannot have made."""

    def _validate_session_key(self, key: str | None) -> bool:
        return key is not None and WELL_FORMED_KEY.fullmatch(key) is not None
