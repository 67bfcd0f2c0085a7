"""Deletes tokens that ended long ago. Their charges stay, under the key that made them."""

from datetime import datetime

from django.db.models import Exists, OuterRef, Q

from accounts import tokens
from accounts.models import ApiKey
from billing.models import Hold

# Few: for each row PostgreSQL looks through what refers to keys and has no index on them (completions, months).
PURGE_BATCH_SIZE = 50


def purge(*, now: datetime, batch_size: int = PURGE_BATCH_SIZE) -> int:
    """Delete tokens that have been kept long enough. Returns how many, at most `batch_size`.

    One with an open hold stays, so that the end of its work finds its count.
    """
    before = now - tokens.KEEP_FOR
    ended = ApiKey.objects.filter(Q(expires_at__lt=before) | Q(revoked_at__lt=before), parent__isnull=False)
    is_open = Exists(Hold.objects.open().filter(token_id=OuterRef("pk")))
    ids = list(ended.exclude(is_open).order_by("created_at").values_list("pk", flat=True)[:batch_size])
    ApiKey.objects.filter(pk__in=ids).delete()
    return len(ids)
