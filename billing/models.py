"""Wallets, the book of entries, and holds. Only `ledger` writes them."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Organization

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
    created_at = models.DateTimeField(default=timezone.now)

    objects = WalletQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(held_micros__gte=0), name="wallet_held_is_not_negative"),
            models.CheckConstraint(
                condition=Q(held_micros__lte=F("balance_micros")), name="wallet_held_is_within_balance"
            ),
        ]

    def __str__(self) -> str:
        return f"wallet of {self.organization_id}"

    @property
    def available_micros(self) -> int:
        """What can be spent now."""
        return self.balance_micros - self.held_micros


class EntryKind(models.TextChoices):
    """Why money came or went."""

    PAYMENT = "payment", "Payment"
    BONUS = "bonus", "Bonus"
    CREDIT = "credit", "Credit"
    USAGE = "usage", "Usage"


# What `ledger.credit` may book. Everything else takes money away.
INCOMING_KINDS = (EntryKind.PAYMENT, EntryKind.BONUS, EntryKind.CREDIT)
OUTGOING_KINDS = (EntryKind.USAGE,)


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

    # No index of its own: both indexes below begin with it.
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
            models.Index(fields=["wallet", "kind", "-created_at"], name="entry_by_kind"),
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

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="holds")
    reference = models.CharField(max_length=REFERENCE_LENGTH)
    amount_micros = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=HoldState.choices, default=HoldState.OPEN)
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
