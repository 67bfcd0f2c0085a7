"""Whether new recordings are taken. Operators pause it for repairs: what was taken before goes on to its end."""

from django.core.cache import cache
from django.db import transaction
from django.utils import timezone

from accounts.errors import NoRoom
from accounts.models import User
from transcription.models import IntakePause

RETRY_SECONDS = 60
# For so long other processes go by what one of them has found.
KNOWN_SECONDS = 5
_KEY = "intake:is-paused"


def require_open() -> None:
    """Raise NoRoom while operators take nothing new: before anything is read, stored or held."""
    if is_paused():
        raise NoRoom(
            "No new recordings are taken at present. Nothing was stored or charged; "
            f"try again in {RETRY_SECONDS} seconds.",
            retry_after=RETRY_SECONDS,
        )


def is_paused() -> bool:
    """Tell whether intake is paused. At most KNOWN_SECONDS old where the cache was lost between a pause and now."""
    known = cache.get(_KEY)
    if known is None:
        known = current() is not None
        cache.set(_KEY, known, timeout=KNOWN_SECONDS)
    return bool(known)


def current() -> IntakePause | None:
    """Return the pause that has not ended."""
    return IntakePause.objects.filter(ended_at=None).select_related("begun_by").first()


def pause(*, by: User, reason: str = "") -> None:
    """Take nothing new from now on. Does nothing while intake is paused."""
    with transaction.atomic():
        if current() is None:
            IntakePause.objects.create(begun_by=by, reason=reason)
        transaction.on_commit(_forget)


def resume(*, by: User) -> None:
    """Take recordings again. Does nothing while intake is not paused."""
    with transaction.atomic():
        IntakePause.objects.filter(ended_at=None).update(ended_at=timezone.now(), ended_by=by)
        transaction.on_commit(_forget)


def _forget() -> None:
    cache.delete(_KEY)
