"""Database sessions that accept only keys in Django's own format: 32 characters of a to z and 0 to 9.

Django looks up every cookie with 8 characters or more. PostgreSQL refuses text with a NUL, so such a cookie made every
page answer 500.
"""

import re

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

WELL_FORMED_KEY = re.compile(r"[a-z0-9]{32}")


# Django finds the class by this name, and uses the name as a salt of the signature of stored data.
class SessionStore(DatabaseStore):
    """A session, which is empty for a malformed key."""

    def _validate_session_key(self, key: str | None) -> bool:
        return key is not None and WELL_FORMED_KEY.fullmatch(key) is not None
