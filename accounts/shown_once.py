"""A secret that a form has created, on its way to the one page that shows it.

The form is answered by a redirect, so that Reload shows the list and creates nothing. Between the two requests the
secret lies encrypted in the session.
"""

import time
import uuid

from cryptography.fernet import InvalidToken
from django.http import HttpRequest

from accounts import encryption

SESSION_KEY = "shown_once"
# The browser follows the redirect at once. A secret that it did not fetch is not shown to a later visitor.
LIFETIME_SECONDS = 120


def put(request: HttpRequest, secret: str, *, organization_id: uuid.UUID, slot: str = SESSION_KEY) -> None:
    """Keep a secret of an organization for this person's next page.

    slot: kinds of secrets that different pages show have different ones.
    """
    request.session[slot] = [str(organization_id), int(time.time()), encryption.encrypt(secret)]


def take(request: HttpRequest, *, organization_id: uuid.UUID, slot: str = SESSION_KEY) -> str | None:
    """Return the secret and forget it. None without one, and for one of another organization or an old one."""
    kept = request.session.get(slot)
    if kept is None:
        return None
    owner, put_at, encrypted = kept
    is_old = time.time() - put_at > LIFETIME_SECONDS
    if owner != str(organization_id) and not is_old:
        return None
    del request.session[slot]
    if is_old:
        return None
    try:
        return encryption.decrypt(encrypted)
    except InvalidToken:
        return None
