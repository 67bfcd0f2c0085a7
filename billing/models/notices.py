"""Rows about mails to an organization's owners. Only `notices` writes them."""

from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils import timezone

from billing.models.ledger import Wallet


class NoticeQuerySet(models.QuerySet["Notice"]):
    """Notices, as periodic duties ask for them."""

    def sent_or_claimed(self, *, now: datetime) -> "NoticeQuerySet":
        """Return notices that were sent or that a live process is sending. The others belong to a process that died."""
        return self.filter(Q(retake_at__isnull=True) | Q(retake_at__gt=now))


class Notice(models.Model):
    """A mail to an organization's owners about its money, sent once for each occasion.

    Written by `notices` only.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="notices", db_index=False)
    # "low_balance", "expiry_30" ...
    kind = models.CharField(max_length=40)
    # Tells two notices of one kind apart: the moment of expiry, the moment when the balance fell.
    occasion_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)
    # When the claim expires: another process may then send the mail. Null: the mail was sent.
    retake_at = models.DateTimeField(null=True, blank=True)

    objects = NoticeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["wallet", "kind", "occasion_at"], name="one_notice_per_occasion")
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.wallet_id}"
