"""Wallets, freezes, ledger entries, holds and monthly sums. Only the package `billing.ledger` writes them."""

from datetime import datetime

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.fields.json import KeyTextTransform
from django.utils import timezone

from accounts.models import ApiKey, Organization
from billing import months

# "topup:<id>", "job:<uuid>", "signup:<uuid>": the business event that an entry or hold belongs to.
REFERENCE_LENGTH = 200


class WalletQuerySet(models.QuerySet["Wallet"]):
    """Wallets, reached through their organization."""

    def of(self, organization: Organization) -> "WalletQuerySet":
        return self.filter(organization=organization)


class Wallet(models.Model):
    """An organization's money: the sums of its entries and of its open holds.

    The sums are stored so that one conditional UPDATE can admit or refuse a reservation.

    Written by `ledger` only.
    """

    organization = models.OneToOneField(Organization, on_delete=models.PROTECT, related_name="wallet")
    # All money, including held money.
    balance_micros = models.BigIntegerField(default=0)
    held_micros = models.BigIntegerField(default=0)
    # When the wallet was frozen: no new work is admitted. Set exactly while a Freeze is open, else null.
    frozen_at = models.DateTimeField(null=True, blank=True)
    # When money last came in or work last began or ended. A sign-in is not activity.
    last_activity_at = models.DateTimeField(default=timezone.now)
    # When the balance expired for lack of activity; null again once money has come in.
    expired_at = models.DateTimeField(null=True, blank=True)
    # Limit of a calendar month (UTC), null for no limit. A key may have a limit of its own as well.
    monthly_limit_micros = models.BigIntegerField(null=True, blank=True)
    # A higher limit that counts until a moment. Both null: there is none.
    raised_limit_micros = models.BigIntegerField(null=True, blank=True)
    raised_until = models.DateTimeField(null=True, blank=True)
    # Owners get a mail when less than this is available (null: never). low_since: since when it is so.
    low_balance_micros = models.BigIntegerField(null=True, blank=True)
    low_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = WalletQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(held_micros__gte=0), name="wallet_held_is_not_negative"),
            # A refund or dispute of money that was spent leaves a debt (docs/decisions/0011).
            models.CheckConstraint(
                condition=Q(held_micros__lte=F("balance_micros")) | Q(frozen_at__isnull=False),
                name="wallet_is_overdrawn_only_while_frozen",
            ),
            models.CheckConstraint(
                condition=Q(monthly_limit_micros__isnull=True) | Q(monthly_limit_micros__gte=0),
                name="wallet_limit_is_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(raised_limit_micros__isnull=True, raised_until__isnull=True)
                | Q(
                    raised_limit_micros__isnull=False,
                    raised_until__isnull=False,
                    raised_limit_micros__gte=F("monthly_limit_micros"),
                ),
                name="wallet_raise_ends",
            ),
            models.CheckConstraint(
                condition=Q(low_balance_micros__isnull=True) | Q(low_balance_micros__gt=0),
                name="wallet_low_balance_is_positive",
            ),
        ]
        # For the search for owners to mail. No index on a column that every reservation changes, such as
        # last_activity_at: each reservation would then write to all indexes (docs/decisions/0018).
        indexes = [models.Index(fields=["low_since"], condition=Q(low_since__isnull=False), name="wallet_low")]

    def __str__(self) -> str:
        return f"wallet of {self.organization_id}"

    @property
    def available_micros(self) -> int:
        """The balance less the held money: what can be spent now. Negative while there is a debt."""
        return self.balance_micros - self.held_micros

    def limit_at(self, now: datetime) -> int | None:
        """The monthly limit that counts at a moment: the raised one while it lasts. None: no limit."""
        return self.raised_limit_micros if self.is_raised(now=now) else self.monthly_limit_micros

    def is_raised(self, *, now: datetime) -> bool:
        return self.raised_until is not None and self.raised_until > now

    @property
    def is_frozen(self) -> bool:
        return self.frozen_at is not None

    @property
    def expires_at(self) -> datetime | None:
        """When the balance expires unless there is activity; None if it is empty or frozen."""
        if self.balance_micros <= 0 or self.is_frozen:
            return None
        return months.months_later(self.last_activity_at, settings.EXPIRY_MONTHS)


class Freeze(models.Model):
    """One reason why a wallet admits no new work. A wallet may have several; each is lifted separately.

    Written by `ledger` only.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="freezes", db_index=False)
    # "debt": the ledger sets and lifts it. Else the cause: "dispute:<id>", "operator".
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
    """Why money came in or went out."""

    PAYMENT = "payment", "Payment"
    BONUS = "bonus", "Bonus"
    CREDIT = "credit", "Credit"
    USAGE = "usage", "Usage"
    REFUND = "refund", "Refund"
    REFUND_REVERSAL = "refund_reversal", "Refund reversed"
    DISPUTE = "dispute", "Dispute"
    DISPUTE_REVERSAL = "dispute_reversal", "Dispute reversed"
    EXPIRY = "expiry", "Expiry"


# Kinds that `ledger.credit` may write.
CREDIT_KINDS = (EntryKind.PAYMENT, EntryKind.BONUS, EntryKind.CREDIT)
# Kinds that `ledger.claw_back` may write, each with the kind of its reversal by `ledger.restore`.
REVERSALS = {EntryKind.REFUND: EntryKind.REFUND_REVERSAL, EntryKind.DISPUTE: EntryKind.DISPUTE_REVERSAL}
INCOMING_KINDS = (*CREDIT_KINDS, *REVERSALS.values())
OUTGOING_KINDS = (EntryKind.USAGE, *REVERSALS, EntryKind.EXPIRY)


class EntryQuerySet(models.QuerySet["Entry"]):
    """Entries, reached through their organization."""

    def of(self, organization: Organization) -> "EntryQuerySet":
        return self.filter(wallet__organization=organization)

    def newest_first(self) -> "EntryQuerySet":
        # The wallet's lock orders the ids of its entries; times may be equal.
        return self.order_by("-id")


class Entry(models.Model):
    """One line of the ledger: money that came in or went out. Triggers refuse to change or remove it.

    Written by `ledger` only.
    """

    # No index of its own: the indexes below begin with it.
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="entries", db_index=False)
    kind = models.CharField(max_length=20, choices=EntryKind.choices)
    reference = models.CharField(max_length=REFERENCE_LENGTH)
    # Positive: came in. Negative: went out.
    amount_micros = models.BigIntegerField()
    balance_after_micros = models.BigIntegerField()
    description = models.CharField(max_length=300, blank=True)
    # For reports: api_key_id, model, duration_ms ... No balance depends on it.
    details = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(default=timezone.now)

    objects = EntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "entries"
        constraints = [
            # Across all wallets, so that one payment can never be credited to two organizations.
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
            # For the bounds of a period. It includes kind and amount, so that a month's sum reads only the index.
            models.Index(fields=["wallet", "created_at"], include=["kind", "amount_micros"], name="entry_by_time"),
            # For what is rare in a long ledger: payments among the usage ...
            models.Index(
                fields=["wallet", "kind", "-created_at"], condition=~Q(kind=EntryKind.USAGE), name="entry_by_kind"
            ),
            # ... and the charges of one key or one model.
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
    """OPEN until the work ends; then SETTLED if it is charged, RELEASED if it costs nothing."""

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
    """Part of the balance, reserved for work in progress (an authorization hold). Written by `ledger` only."""

    # Wallet and key have no foreign-key constraint: each hold is counted in a MonthlySpend of the same wallet and key,
    # and the constraints of that row protect both (docs/decisions/0018).
    wallet = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="holds", db_index=False, db_constraint=False
    )
    reference = models.CharField(max_length=REFERENCE_LENGTH)
    amount_micros = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=HoldState.choices, default=HoldState.OPEN)
    # The key of the request, null for a person in a browser. The key's monthly limit counts this hold.
    api_key = models.ForeignKey(
        ApiKey,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    # The token of the request, if it is of one. Then api_key is the token's key: the hold counts for the limits of
    # both. No foreign key: tokens are deleted after a while, holds are not.
    token_id = models.UUIDField(null=True, blank=True)
    # First day of the month (UTC) in which this hold, and later its charge, is counted.
    month = models.DateField()
    # The final charge, null unless settled.
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
                # A CHECK passes when its condition is NULL, so NULL is excluded explicitly.
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
            # For the sum of open holds and the search for stale ones. Nearly all holds are closed and not in it.
            models.Index(fields=["wallet", "created_at"], condition=Q(state=HoldState.OPEN), name="hold_open"),
        ]

    def __str__(self) -> str:
        return f"{self.state} hold {self.reference}: {self.amount_micros}"

    @property
    def is_open(self) -> bool:
        return self.state == HoldState.OPEN


class MonthlySpend(models.Model):
    """One month's spending of a wallet or of one key: the amounts of open holds and the charges of settled ones.

    Stored so that checking a limit is one UPDATE and never a sum. Written by `ledger` only, under the wallet's lock.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="monthly_spends", db_index=False)
    # Null: the row of the whole organization, with all keys and people.
    api_key = models.ForeignKey(
        ApiKey, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    # First day of the month, in UTC.
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


class TokenSpend(models.Model):
    """What a token has spent in its life: the amounts of its open holds and the charges of its settled ones.

    Goes when the token is deleted. Written by `ledger` only, under the wallet's lock.
    """

    token = models.OneToOneField(ApiKey, on_delete=models.CASCADE, primary_key=True, related_name="+")
    spent_micros = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(spent_micros__gte=0), name="token_spend_is_not_negative")]

    def __str__(self) -> str:
        return f"{self.token_id}: {self.spent_micros}"


class CreditedAddress(models.Model):
    """An e-mail address whose owner got the sign-up credit, as a keyed digest. Written by `signup_credit` only.

    It belongs to no person and no organization, since it stays when both are deleted: for that it is here.
    """

    # HMAC-SHA256 with a secret of the site, in hexadecimal: nobody without the secret can try addresses.
    digest = models.CharField(max_length=64, primary_key=True)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.digest
