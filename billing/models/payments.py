"""Rows about money that comes from a customer's card: top-ups, saved cards, and events of Stripe that match no row.

Money that goes back has its rows in `models.reversals`.

Stripe's objects are stored by their ids, as plain text. There are no foreign keys into dj-stripe's tables, because an
operator may empty and synchronize those at any time. The money itself is in the ledger (`models.Entry`); these rows
say why it moved.

Lock order
----------

Code that locks several rows of one organization must lock them in this order. Otherwise two transactions can wait for
each other (a deadlock).

1. the stored event: dj-stripe's row, in the transaction of a webhook
2. the top-up
3. the rows about that top-up: refunds, disputes, unmatched events, the saved card and the card that it replaces
4. the wallet, then the rows that the ledger locks below it (`ledger/__init__`)
5. the organization's settings of automatic top-up (`AutomaticTopUp`)

For example, a webhook about a refund locks its event, then the top-up, then the refund's row, then the wallet.

Two places seem to break the order, and are safe:

* `claw_backs.restore` writes other refunds and disputes of a top-up after it has locked the wallet. The top-up is
  already locked, and nobody locks those rows without it.
* `automatic_topups._begin` locks the settings first and inserts a top-up later. No other transaction can hold a lock on
  a new row. The insert does not wait for the unique constraint on open automatic top-ups either: `_begin` has checked,
  under the lock on the settings, that there is no other open one.

Expiry, limits and freezes lock only the wallet. What periodic duties record on the side (`checked_at`, and everything
in `invoices`) is one UPDATE in a transaction of its own.
"""

import uuid
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Organization
from billing import months, pricing

# Stripe: "You can assume object IDs will never exceed 255 characters" (docs.stripe.com/upgrades, read 2026-11-20).
STRIPE_ID_LENGTH = 255
URL_LENGTH = 2048
SENTENCE_LENGTH = 300


class TopUpState(models.TextChoices):
    """Where a top-up stands. Only PAID is final: a payment that arrives after FAILED or EXPIRED is still credited."""

    # The row exists; Stripe has not answered yet.
    STARTING = "starting", "Starting"
    # Stripe's pay page waits for the payer.
    PENDING = "pending", "Waiting for payment"
    # The payer has paid; the bank has not confirmed yet.
    PROCESSING = "processing", "On its way"
    PAID = "paid", "Paid"
    FAILED = "failed", "Failed"
    EXPIRED = "expired", "Not paid"
    # A payment arrived that does not match the row: an operator decides. Stored as "parked", an earlier name.
    UNDER_REVIEW = "parked", "Being checked"


OPEN_TOPUP_STATES = (TopUpState.STARTING, TopUpState.PENDING, TopUpState.PROCESSING)


class Customer(models.Model):
    """An organization's customer object at Stripe. Written by `stripe_calls` and `customer_names`."""

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, related_name="stripe_customer")
    stripe_id = models.CharField(max_length=STRIPE_ID_LENGTH, unique=True)
    # From when on Stripe is to be told the organization's name. Null: Stripe knows it.
    name_due_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["name_due_at"], condition=models.Q(name_due_at__isnull=False), name="customers_to_rename"
            )
        ]

    def __str__(self) -> str:
        return self.stripe_id


class TopUpQuerySet(models.QuerySet["TopUp"]):
    """Top-ups, reached through their organization."""

    def of(self, organization: Organization) -> "TopUpQuerySet":
        return self.filter(organization=organization)

    def newest_first(self) -> "TopUpQuerySet":
        return self.order_by("-created_at", "-id")

    def open(self) -> "TopUpQuerySet":
        return self.filter(state__in=OPEN_TOPUP_STATES)

    def without_invoice(self, *, now: datetime) -> "TopUpQuerySet":
        """Top-ups whose invoice is due, the longest overdue first."""
        return self.filter(invoice_due_at__lte=now).order_by("invoice_due_at")


class TopUp(models.Model):
    """One attempt to buy credit, paid or not. Written by `topups`, `automatic_topups`, `checkouts` and `invoices`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="topups")
    # The person who started it; null if automatic top-up did.
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    amount_cents = models.PositiveIntegerField()
    # Fixed when the payer saw it: a later change of the bonus tiers does not apply.
    bonus_cents = models.PositiveIntegerField()
    currency = models.CharField(max_length=3, default=pricing.CURRENCY)
    state = models.CharField(max_length=10, choices=TopUpState.choices, default=TopUpState.STARTING)
    is_automatic = models.BooleanField(default=False)
    save_card = models.BooleanField(default=False)
    # The reason of a failure, as a sentence for the payer.
    failure = models.CharField(max_length=SENTENCE_LENGTH, blank=True)
    checkout_session_id = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True)
    payment_intent_id = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True)
    # The saved card that an automatic top-up charges. A repeated call must name the same card, or Stripe refuses the
    # idempotency key.
    payment_method_id = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True)
    receipt_url = models.CharField(max_length=URL_LENGTH, blank=True)
    invoice_url = models.CharField(max_length=URL_LENGTH, blank=True)
    invoice_pdf_url = models.CharField(max_length=URL_LENGTH, blank=True)
    # Stripe's invoice of an automatic top-up, and when `invoices` works on it next (null: nothing to do). The database
    # default serves processes of the version before, which do not know the column.
    invoice_id = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True, default="", db_default="")
    invoice_due_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    # When a periodic duty last asked Stripe about it.
    checked_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = TopUpQuerySet.as_manager()

    class Meta:
        verbose_name = "top-up"
        constraints = [
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="topup_amount_is_positive"),
            models.CheckConstraint(condition=Q(state__in=TopUpState.values), name="topup_state_is_known"),
            models.CheckConstraint(
                condition=Q(state=TopUpState.PAID, paid_at__isnull=False)
                | (~Q(state=TopUpState.PAID) & Q(paid_at__isnull=True)),
                name="topup_has_time_of_payment_if_paid",
            ),
            models.CheckConstraint(
                condition=Q(invoice_due_at__isnull=True) | Q(state=TopUpState.PAID, is_automatic=True),
                name="only_paid_automatic_topup_awaits_invoice",
            ),
            models.UniqueConstraint(
                fields=["checkout_session_id"], condition=~Q(checkout_session_id=""), name="one_topup_per_checkout"
            ),
            models.UniqueConstraint(
                fields=["payment_intent_id"], condition=~Q(payment_intent_id=""), name="one_topup_per_payment_intent"
            ),
            # Holds for any number of clock processes.
            models.UniqueConstraint(
                fields=["organization"],
                condition=Q(is_automatic=True, state__in=[state.value for state in OPEN_TOPUP_STATES]),
                name="one_automatic_topup_at_a_time",
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-created_at"], name="topup_list"),
            models.Index(
                fields=["created_at"],
                condition=Q(state__in=[state.value for state in OPEN_TOPUP_STATES]),
                name="topup_open",
            ),
            models.Index(
                fields=["invoice_due_at"], condition=Q(invoice_due_at__isnull=False), name="topup_without_invoice"
            ),
            # For the mails about the payments of the last day.
            models.Index(fields=["paid_at"], condition=Q(paid_at__isnull=False), name="paid_topups"),
        ]

    def __str__(self) -> str:
        return f"{self.state} top-up {self.pk} of {self.amount_cents} cents"

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_TOPUP_STATES

    @property
    def is_paid(self) -> bool:
        return self.state == TopUpState.PAID

    @property
    def reference(self) -> str:
        """The reference of its ledger entries."""
        return f"topup:{self.pk}"


class SavedCardQuerySet(models.QuerySet["SavedCard"]):
    """Cards, reached through their organization."""

    def of(self, organization: Organization) -> "SavedCardQuerySet":
        return self.filter(organization=organization)


class SavedCard(models.Model):
    """The card that a payer asked us to keep. Stripe stores it; the row has its id and what may be shown.

    Written by `topups` and `saved_cards`.
    """

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, related_name="saved_card")
    payment_method_id = models.CharField(max_length=STRIPE_ID_LENGTH)
    brand = models.CharField(max_length=30, blank=True)
    last4 = models.CharField(max_length=4, blank=True)
    expires_month = models.PositiveSmallIntegerField(null=True, blank=True)
    expires_year = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = SavedCardQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.brand} ending in {self.last4}"


class ReplacedCard(models.Model):
    """A card that was replaced or removed here and that Stripe has not detached yet.

    Written by `topups` and `saved_cards`.
    """

    payment_method_id = models.CharField(max_length=STRIPE_ID_LENGTH, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    # When Stripe last refused to detach it.
    refused_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.payment_method_id


class AutomaticTopUpQuerySet(models.QuerySet["AutomaticTopUp"]):
    """Settings of automatic top-up, reached through their organization."""

    def of(self, organization: Organization) -> "AutomaticTopUpQuerySet":
        return self.filter(organization=organization)

    def turn_off(self, *, reason: str) -> int:
        """Turn these off. Returns how many were on. reason: a sentence for people; empty if a person did it."""
        return self.filter(is_on=True).update(is_on=False, turned_off_reason=reason, updated_at=timezone.now())


class AutomaticTopUp(models.Model):
    """An organization's settings of automatic top-up. Written by `automatic_topups`.

    `topups` resets the declines. `expiry` and `claw_backs` turn it off: it follows what work costs, and must not charge
    a card because a balance went for another reason.
    """

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, related_name="automatic_topup")
    is_on = models.BooleanField(default=False)
    threshold_cents = models.PositiveIntegerField(default=500)
    # Of each charge, unless there is a target.
    amount_cents = models.PositiveIntegerField(default=5_000)
    # What shall be available after a charge. Null: each charge is of the same amount.
    target_cents = models.PositiveIntegerField(null=True, blank=True)
    # Per calendar month in UTC.
    monthly_cap_cents = models.PositiveIntegerField(default=20_000)
    # Declines in a row.
    declines_count = models.PositiveSmallIntegerField(default=0)
    retry_at = models.DateTimeField(null=True, blank=True)
    # A sentence for people, if the site turned it off.
    turned_off_reason = models.CharField(max_length=SENTENCE_LENGTH, blank=True)
    # The person who turned it on.
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    updated_at = models.DateTimeField(default=timezone.now)

    objects = AutomaticTopUpQuerySet.as_manager()

    class Meta:
        verbose_name = "automatic top-up"
        constraints = [
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="automatic_topup_amount_is_positive"),
            models.CheckConstraint(
                condition=Q(target_cents__isnull=False) | Q(monthly_cap_cents__gte=models.F("amount_cents")),
                name="automatic_topup_fits_its_cap",
            ),
            # A comparison with null would pass, so null is named.
            models.CheckConstraint(
                condition=Q(target_cents__isnull=True)
                | Q(target_cents__isnull=False, target_cents__gt=models.F("threshold_cents")),
                name="automatic_topup_target_is_above_threshold",
            ),
        ]
        indexes = [models.Index(fields=["organization"], condition=Q(is_on=True), name="automatic_topup_on")]

    def __str__(self) -> str:
        return f"automatic top-up of {self.organization_id}: {'on' if self.is_on else 'off'}"

    def is_due(self, *, now: datetime) -> bool:
        return self.is_on and (self.retry_at is None or self.retry_at <= now)

    @property
    def is_waiting(self) -> bool:
        """Whether it is on but charges nothing before `retry_at`. False once `retry_at` has passed."""
        return self.is_on and not self.is_due(now=timezone.now())

    @property
    def is_capped(self) -> bool:
        """Whether it waits for the next month's cap.

        A wait after a decline also sets `retry_at`, but ends exactly at the start of a month only by chance.
        """
        return self.is_waiting and self.retry_at is not None and self.retry_at == months.start_of_month(self.retry_at)


class UnmatchedEvent(models.Model):
    """An event from Stripe that matches no row here, or contradicts it: an operator reads the reason and decides.

    Written by `unmatched_events`; the same event reported again stays one row, which may be opened again.
    """

    # The type of Stripe's object: "checkout", "payment_intent", "invoice", "refund", "dispute", "payment_method".
    subject = models.CharField(max_length=40)
    # The object's id at Stripe.
    stripe_id = models.CharField(max_length=STRIPE_ID_LENGTH)
    # A slug: wrong_amount, wrong_currency, unknown_topup ....
    reason = models.CharField(max_length=40)
    explanation = models.CharField(max_length=SENTENCE_LENGTH)
    topup = models.ForeignKey(TopUp, on_delete=models.PROTECT, null=True, blank=True, related_name="unmatched_events")
    details = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(default=timezone.now)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        # The model was renamed and its table was not: processes of the version before use it (migration 0016).
        db_table = "billing_parkedevent"
        constraints = [
            models.UniqueConstraint(fields=["stripe_id", "reason"], name="parked_once_per_reason"),
        ]
        ordering: ClassVar[list[str]] = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.subject} {self.stripe_id}: {self.reason}"
