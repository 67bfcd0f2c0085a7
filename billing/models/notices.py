"""Rows about mails to an organization's owners: what was sent (`notices`), and which they want (`spend_alerts`)."""

from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey
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


class SpendAlert(models.Model):
    """A part of a monthly limit of which owners are told when it is spent. Written by `spend_alerts` only."""

    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="spend_alerts", db_index=False)
    # Null: the limit of the whole organization.
    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    percent = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["wallet", "percent"], condition=Q(api_key__isnull=True), name="one_alert_per_wallet_and_percent"
            ),
            models.UniqueConstraint(
                fields=["wallet", "api_key", "percent"],
                condition=Q(api_key__isnull=False),
                name="one_alert_per_key_and_percent",
            ),
            models.CheckConstraint(condition=Q(percent__gte=1, percent__lte=100), name="alert_is_a_part"),
        ]

    def __str__(self) -> str:
        return f"{self.percent} % of {self.api_key_id or self.wallet_id}"
