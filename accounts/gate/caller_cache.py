"""The callers of the last second, so that a busy key is not read from the database for each request.

Only for work that looks at the key again in the statement that admits it, as the chat endpoint does
(`billing.ledger.many_wallets`). What is stale here then admits nothing.
"""

import threading
import time
from dataclasses import dataclass
from hashlib import sha256

from django.utils import timezone

from accounts.gate import authentication
from accounts.gate.authentication import Caller

# From before the key was read. What a process knows of a key is never older than this.
MAX_AGE_SECONDS = 0.9
MAX_CALLERS = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    read_at: float


_lock = threading.Lock()
# By the digest of the key, so that a dump of the memory shows no more keys than it must.
_known: dict[str, _Known] = {}


def authenticate(key: str, *, max_age_seconds: float = MAX_AGE_SECONDS, max_callers: int = MAX_CALLERS) -> Caller:
    """Return the caller, as it was at most `max_age_seconds` ago. Raises as `authentication.authenticate`.

    A refusal is not remembered: a new key works at once. Nor is the old secret of a key that was rotated.
    """
    digest = sha256(key.encode()).hexdigest()
    started_at = time.monotonic()
    known = _known.get(digest)
    if (
        known is not None
        and started_at - known.read_at < max_age_seconds
        and known.caller.api_key.is_live(now=timezone.now())
    ):
        return known.caller
    return authenticate_anew(key, max_callers=max_callers)


def authenticate_anew(key: str, *, max_callers: int = MAX_CALLERS) -> Caller:
    """Return the caller as it is now, and remember it. Raises as `authentication.authenticate`.

    max_callers: how many are remembered. One more forgets them all.
    """
    digest = sha256(key.encode()).hexdigest()
    started_at = time.monotonic()
    caller = authentication.authenticate({"X-API-Key": key})
    if caller.api_key.sha256 != digest:
        return caller
    with _lock:
        if len(_known) >= max_callers:
            _known.clear()
        _known[digest] = _Known(caller, started_at)
    return caller


def forget_all() -> None:
    """Forget all callers. For tests."""
    with _lock:
        _known.clear()
