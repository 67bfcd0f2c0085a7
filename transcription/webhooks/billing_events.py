"""What webhooks tell of money. Receivers of billing's signals, which run inside the transaction of what happened."""

from datetime import date, datetime
from typing import Any

from django.dispatch import receiver
from django.utils import timezone

from accounts.gate.times import show_time
from billing import low_balance, spend_alerts, topups
from billing.models import SpendAlert, TopUp, Wallet
from transcription.models import EventType
from transcription.webhooks import outbox


@receiver(topups.topup_completed, dispatch_uid="webhooks.topup_completed")
def topup_was_completed(topup: TopUp, **_: Any) -> None:
    """Tell that a payment is in the balance. The amounts are those of the list of top-ups in `GET /v1/balance`."""
    assert topup.paid_at is not None, "a completed top-up is paid"
    outbox.announce(
        topup.organization_id,
        event=EventType.TOPUP_COMPLETED,
        at=topup.paid_at,
        data={
            "id": str(topup.pk),
            "amount_cents": topup.amount_cents,
            "bonus_cents": topup.bonus_cents,
            "is_automatic": topup.is_automatic,
            "created_at": show_time(topup.created_at),
        },
    )


@receiver(low_balance.balance_is_low, dispatch_uid="webhooks.balance_is_low")
def balance_is_low(wallet: Wallet, low_since: datetime, **_: Any) -> None:
    """Tell that the available balance fell below the alert. The amounts are named as in `GET /v1/balance`."""
    outbox.announce(
        wallet.organization_id,
        event=EventType.BALANCE_LOW,
        at=low_since,
        data={
            "available_micros": wallet.available_micros,
            "balance_micros": wallet.balance_micros,
            "held_micros": wallet.held_micros,
            "threshold_micros": wallet.low_balance_micros,
        },
    )


@receiver(spend_alerts.part_is_spent, dispatch_uid="webhooks.part_is_spent")
def part_is_spent(alert: SpendAlert, month: date, spent_micros: int, limit_micros: int, **_: Any) -> None:
    """Tell that a part of a monthly limit is spent. The names are those of `/v1/alerts` and `/v1/limits`."""
    outbox.announce(
        alert.wallet.organization_id,
        event=EventType.LIMIT_ALERT,
        at=timezone.now(),
        data={
            "key_id": str(alert.api_key_id) if alert.api_key_id else None,
            "percent": alert.percent,
            "month": f"{month:%Y-%m}",
            "spent_micros": spent_micros,
            "limit_micros": limit_micros,
        },
    )
