"""Wallets, the ledger's entries, and holds. Only `ledger` writes them."""

from datetime import datetime

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.fields.json import KeyTextTransform
from django.utils import timezone

from accounts.models import ApiKey, Organization
from billing import months

# "topup:<id>", "job:<uuid>", "signup:<uuid>": the business fact that an effect belongs to.
REFERENCE_LENGTH = 200


class WalletQuerySet(models.QuerySet["Wallet"]):
    """Wallets, reached through their organization."""

    def of(self, organization: Organization) -> "WalletQuerySet":
        return self.filter(organization=organization)


class Wallet(models.Model):
    """An organization's money: the sum of its entries and of its open holds, kept so that one UPDATE can decide.

    Written by `ledger` only.
    """

    organization = models.OneToOneField(Organization, on_delete=models.PROTECT, related_name="wallet")
    # All money, held money included.
    balance_micros = models.BigIntegerField(default=0)
    held_micros = models.BigIntegerField(default=0)
    # Since when nothing new is admitted, null while it is: set exactly while a Freeze is open.
    frozen_at = models.DateTimeField(null=True, blank=True)
    # The last time that money came or work began or ended. A sign-in is not activity.
    last_activity_at = models.DateTimeField(default=timezone.now)
    # When the whole balance was taken for want of activity; null once money has come again.
    expired_at = models.DateTimeField(null=True, blank=True)
    # The most that may be spent in a calendar month (UTC), null for no limit. A key has its own beside it.
    monthly_limit_micros = models.BigIntegerField(null=True, blank=True)
    # Owners are told when less than this is available, null for never; and since when it is so.
    low_balance_micros = models.BigIntegerField(null=True, blank=True)
    low_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = WalletQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(held_micros__gte=0), name="wallet_held_is_not_negative"),
            # Money that was taken back after it was spent leaves a debt (docs/decisions/0011).
            models.CheckConstraint(
                condition=Q(held_micros__lte=F("balance_micros")) | Q(frozen_at__isnull=False),
                name="wallet_is_overdrawn_only_while_frozen",
            ),
            models.CheckConstraint(
                condition=Q(monthly_limit_micros__isnull=True) | Q(monthly_limit_micros__gte=0),
                name="wallet_limit_is_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(low_balance_micros__isnull=True) | Q(low_balance_micros__gt=0),
                name="wallet_low_balance_is_positive",
            ),
        ]
        # What the clock asks for: who must be told that little is left. None on what every reservation changes, as
        # last_activity_at: each would then write to all indexes (docs/decisions/0018).
        indexes = [models.Index(fields=["low_since"], condition=Q(low_since__isnull=False), name="wallet_low")]

    def __str__(self) -> str:
        return f"wallet of {self.organization_id}"

    @property
    def available_micros(self) -> int:
        """What can be spent now."""
        return self.balance_micros - self.held_micros

    @property
    def is_frozen(self) -> bool:
        return self.frozen_at is not None

    @property
    def expires_at(self) -> datetime | None:
        """When the balance will be taken unless something happens; None if there is nothing, or it is frozen."""
        if self.balance_micros <= 0 or self.is_frozen:
            return None
        return months.months_later(self.last_activity_at, settings.EXPIRY_MONTHS)


class Freeze(models.Model):
    """A reason why a wallet admits nothing new. A wallet may have several; each is lifted by itself.

    Written by `ledger` only.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="freezes", db_index=False)
    # "debt": the ledger's own, lifted by itself. Else what it is about: "dispute:<id>", "operator".
    reason = models.CharField(max_length=REFERENCE_LENGTH)
    created_at = models.DateTimeField(default=timezone.now)
    lifted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["wallet", "reason"], condition=Q(lifted_at__isnull=True), name="one_open_freeze_per_reason"
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="freeze_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"freeze of {self.wallet_id} for {self.reason}"


class EntryKind(models.TextChoices):
    """Why money came or went."""

    PAYMENT = "payment", "Payment"
    BONUS = "bonus", "Bonus"
    CREDIT = "credit", "Credit"
    USAGE = "usage", "Usage"
    REFUND = "refund", "Refund"
    REFUND_REVERSAL = "refund_reversal", "Refund reversed"
    DISPUTE = "dispute", "Dispute"
    DISPUTE_REVERSAL = "dispute_reversal", "Dispute reversed"
    EXPIRY = "expiry", "Expiry"


# What `ledger.credit` may book.
CREDIT_KINDS = (EntryKind.PAYMENT, EntryKind.BONUS, EntryKind.CREDIT)
# What `ledger.claw_back` may book, and what `ledger.restore` then books against it.
REVERSALS = {EntryKind.REFUND: EntryKind.REFUND_REVERSAL, EntryKind.DISPUTE: EntryKind.DISPUTE_REVERSAL}
INCOMING_KINDS = (*CREDIT_KINDS, *REVERSALS.values())
OUTGOING_KINDS = (EntryKind.USAGE, *REVERSALS, EntryKind.EXPIRY)


class EntryQuerySet(models.QuerySet["Entry"]):
    """Entries, reached through their organization."""

    def of(self, organization: Organization) -> "EntryQuerySet":
        return self.filter(wallet__organization=organization)

    def newest_first(self) -> "EntryQuerySet":
        # Ids of one wallet are given out under its lock, so they are in the order of the book; times may tie.
        return self.order_by("-id")


class Entry(models.Model):
    """One line of the book: money that came or went, for good. Triggers refuse to change or remove it.

    Written by `ledger` only.
    """

    # No index of its own: the indexes below begin with it.
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="entries", db_index=False)
    kind = models.CharField(max_length=20, choices=EntryKind.choices)
    reference = models.CharField(max_length=REFERENCE_LENGTH)
    # Positive: came. Negative: went.
    amount_micros = models.BigIntegerField()
    balance_after_micros = models.BigIntegerField()
    description = models.CharField(max_length=300, blank=True)
    # What usage charts group by: api_key_id, model, duration_ms ... Never needed to recompute a balance.
    details = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(default=timezone.now)

    objects = EntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "entries"
        constraints = [
            # Over all wallets, so that one payment can never be credited to two organizations.
            models.UniqueConstraint(fields=["kind", "reference"], name="one_entry_per_reference"),
            models.CheckConstraint(condition=~Q(amount_micros=0), name="entry_amount_is_not_zero"),
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in INCOMING_KINDS], amount_micros__gt=0)
                | Q(kind__in=[kind.value for kind in OUTGOING_KINDS], amount_micros__lt=0),
                name="entry_sign_fits_kind",
            ),
            models.CheckConstraint(condition=~Q(reference=""), name="entry_has_a_reference"),
        ]
        indexes = [
            models.Index(fields=["wallet", "-id"], name="entry_book"),
            # Where a period begins and ends. With kind and amount in it a month's sum need not visit the rows.
            models.Index(fields=["wallet", "created_at"], include=["kind", "amount_micros"], name="entry_by_time"),
            # What is rare in a long book, which would be looked for in all of it: payments among the usage, ...
            models.Index(
                fields=["wallet", "kind", "-created_at"], condition=~Q(kind=EntryKind.USAGE), name="entry_by_kind"
            ),
            # ... and what a key or a model cost.
            models.Index(
                F("wallet"),
                KeyTextTransform("api_key_id", "details"),
                F("id").desc(),
                condition=Q(kind=EntryKind.USAGE),
                name="entry_by_key",
            ),
            models.Index(
                F("wallet"),
                KeyTextTransform("model", "details"),
                F("id").desc(),
                condition=Q(kind=EntryKind.USAGE),
                name="entry_by_model",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}: {self.amount_micros}"


class HoldState(models.TextChoices):
    """Open until the work ends: settled when it is paid for, released when it costs nothing."""

    OPEN = "open", "Open"
    SETTLED = "settled", "Settled"
    RELEASED = "released", "Released"


class HoldQuerySet(models.QuerySet["Hold"]):
    """Holds, reached through their organization."""

    def of(self, organization: Organization) -> "HoldQuerySet":
        return self.filter(wallet__organization=organization)

    def open(self) -> "HoldQuerySet":
        return self.filter(state=HoldState.OPEN)


class Hold(models.Model):
    """A promise: so much of the balance is set aside for work that is under way. Written by `ledger` only."""

    # Neither is checked by the database once more: each hold is counted in a MonthlySpend of this wallet and of this
    # key, whose foreign keys keep both (docs/decisions/0018).
    wallet = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="holds", db_index=False, db_constraint=False
    )
    reference = models.CharField(max_length=REFERENCE_LENGTH)
    amount_micros = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=HoldState.choices, default=HoldState.OPEN)
    # The key that asked, null for a person in a browser. Its monthly limit counts this hold.
    api_key = models.ForeignKey(
        ApiKey,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    # The first day of the month (UTC) that this hold, and later its charge, counts for.
    month = models.DateField()
    # What was charged in the end, null unless settled.
    charged_micros = models.BigIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = HoldQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["reference"], name="one_hold_per_reference"),
            models.CheckConstraint(condition=Q(amount_micros__gte=0), name="hold_amount_is_not_negative"),
            models.CheckConstraint(
                condition=Q(state=HoldState.OPEN, closed_at__isnull=True)
                | Q(state__in=[HoldState.SETTLED.value, HoldState.RELEASED.value], closed_at__isnull=False),
                name="hold_has_closing_time_unless_open",
            ),
            models.CheckConstraint(condition=~Q(reference=""), name="hold_has_a_reference"),
            models.CheckConstraint(
                # Unknown is not false: a comparison with NULL alone would let NULL pass.
                condition=Q(
                    state=HoldState.SETTLED,
                    charged_micros__isnull=False,
                    charged_micros__gte=0,
                    charged_micros__lte=F("amount_micros"),
                )
                | Q(state__in=[HoldState.OPEN.value, HoldState.RELEASED.value], charged_micros__isnull=True),
                name="hold_is_charged_within_its_amount",
            ),
        ]
        indexes = [
            # The sum over open holds and the search for stale ones, without the closed ones, which are nearly all.
            models.Index(fields=["wallet", "created_at"], condition=Q(state=HoldState.OPEN), name="hold_open"),
        ]

    def __str__(self) -> str:
        return f"{self.state} hold {self.reference}: {self.amount_micros}"

    @property
    def is_open(self) -> bool:
        return self.state == HoldState.OPEN


class MonthlySpend(models.Model):
    """What one month's holds come to, of a whole wallet or of one key: open ones whole, settled ones as charged.

    Kept so that a limit is one UPDATE and never a sum. Written by `ledger` only, under the wallet's lock.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="monthly_spends", db_index=False)
    # Null: the row of the whole organization, keys and people together.
    api_key = models.ForeignKey(
        ApiKey, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    # Its first day, in UTC.
    month = models.DateField()
    spent_micros = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["wallet", "month"], condition=Q(api_key__isnull=True), name="one_spend_per_wallet_and_month"
            ),
            models.UniqueConstraint(
                fields=["wallet", "month", "api_key"],
                condition=Q(api_key__isnull=False),
                name="one_spend_per_key_and_month",
            ),
            models.CheckConstraint(condition=Q(spent_micros__gte=0), name="spend_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} of {self.api_key_id or self.wallet_id}: {self.spent_micros}"
