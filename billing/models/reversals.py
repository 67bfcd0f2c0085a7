"""Rows about money that goes back to a customer: refunds and disputes.

The docstring of `models.payments` says in which order they are locked.
"""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from billing.models.payments import SENTENCE_LENGTH, STRIPE_ID_LENGTH, TopUp


class RefundState(models.TextChoices):
    """Where a refund stands. REQUESTED: its money has left the balance, and Stripe has not answered yet."""

    REQUESTED = "requested", "Requested"
    PENDING = "pending", "On its way"
    SUCCEEDED = "succeeded", "Refunded"
    FAILED = "failed", "Failed"


class Refund(models.Model):
    """Money that goes back to the payer, requested here or made in Stripe's dashboard. Written by `refunds`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    topup = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="refunds")
    # The person who requested it here; null if it was made in Stripe's dashboard.
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    # The reference of its ledger entries: "refund:<our id>" if requested here, else "refund:<Stripe's id>".
    reference = models.CharField(max_length=200, unique=True)
    # Null until Stripe has answered with the id.
    stripe_id = models.CharField(max_length=STRIPE_ID_LENGTH, null=True, blank=True, unique=True)
    amount_cents = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=RefundState.choices, default=RefundState.REQUESTED)
    # What the ledger took back for it, with the bonus's share, in `takes_count` entries. A reversal leaves both as they
    # are.
    clawed_micros = models.BigIntegerField(default=0)
    takes_count = models.PositiveSmallIntegerField(default=0)
    failure = models.CharField(max_length=SENTENCE_LENGTH, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    # When `refunds.sweep` last asked Stripe about it.
    checked_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="refund_amount_is_positive"),
            models.CheckConstraint(condition=Q(clawed_micros__gte=0), name="refund_claw_back_is_not_negative"),
            models.CheckConstraint(condition=Q(state__in=RefundState.values), name="refund_state_is_known"),
        ]
        indexes = [
            models.Index(fields=["created_at"], condition=Q(state=RefundState.REQUESTED), name="refund_without_answer"),
            # For the mails about the refunds of the last day.
            models.Index(fields=["ended_at"], condition=Q(ended_at__isnull=False), name="ended_refunds"),
        ]

    def __str__(self) -> str:
        return f"{self.state} refund {self.stripe_id or self.pk} of {self.amount_cents} cents"

    @property
    def is_live(self) -> bool:
        """Whether its money has left the balance."""
        return self.state != RefundState.FAILED


class Dispute(models.Model):
    """A payer's objection, made at the bank, to a payment (a chargeback). Written by `disputes`."""

    # Stripe's dp_... or du_....
    stripe_id = models.CharField(max_length=STRIPE_ID_LENGTH, primary_key=True)
    topup = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="disputes")
    amount_cents = models.PositiveIntegerField()
    # Stripe's values. status: needs_response, under_review, won, lost ...; reason: why the payer objects.
    status = models.CharField(max_length=40, blank=True)
    reason = models.CharField(max_length=100, blank=True)
    # When the bank took the money and when it returned it. A lost dispute is never reinstated.
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    reinstated_at = models.DateTimeField(null=True, blank=True)
    # What the ledger took back for it, with the bonus's share, in `takes_count` entries; may have left a debt. A
    # reversal leaves both as they are.
    clawed_micros = models.BigIntegerField(default=0)
    takes_count = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="dispute_amount_is_positive"),
            models.CheckConstraint(condition=Q(clawed_micros__gte=0), name="dispute_claw_back_is_not_negative"),
            models.CheckConstraint(
                condition=Q(reinstated_at__isnull=True) | Q(withdrawn_at__isnull=False),
                name="dispute_is_reinstated_only_after_withdrawal",
            ),
        ]

    def __str__(self) -> str:
        return f"dispute {self.stripe_id} of {self.amount_cents} cents"

    @property
    def is_live(self) -> bool:
        """Whether its money has left the balance."""
        return self.withdrawn_at is not None and self.reinstated_at is None

    @property
    def reference(self) -> str:
        """The reference of its ledger entries, and the reason of its freeze."""
        return f"dispute:{self.stripe_id}"
