"""The rules of the ledger in plain Python, without a database: lists, and sums over them."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from billing.models import HoldState


@dataclass
class Work:
    """A hold in the model."""

    amount: int
    month: date
    by_key: bool
    state: HoldState = HoldState.OPEN
    charged: int = 0

    @property
    def counted(self) -> int:
        return {HoldState.OPEN: self.amount, HoldState.SETTLED: self.charged, HoldState.RELEASED: 0}[self.state]


@dataclass
class Money:
    """An organization's money in the model: lists, and sums over them."""

    entries: dict[tuple[str, str], int] = field(default_factory=dict)
    works: dict[str, Work] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)
    limit: int | None = None
    key_limit: int | None = None
    threshold: int | None = None

    @property
    def balance(self) -> int:
        return sum(self.entries.values())

    @property
    def held(self) -> int:
        return sum(work.amount for work in self.works.values() if work.state == HoldState.OPEN)

    @property
    def available(self) -> int:
        return self.balance - self.held

    @property
    def is_frozen(self) -> bool:
        return bool(self.reasons) or self.available < 0

    def spent(self, month: date, *, by_key: bool) -> int:
        works = (work for work in self.works.values() if work.month == month and (work.by_key or not by_key))
        return sum(work.counted for work in works)

    def headroom(self, month: date, *, by_key: bool) -> int:
        """Return the maximum that can be reserved now, by balance and limits."""
        bounds = [0 if self.is_frozen else self.available]
        if self.limit is not None:
            bounds.append(self.limit - self.spent(month, by_key=False))
        if by_key and self.key_limit is not None:
            bounds.append(self.key_limit - self.spent(month, by_key=True))
        return max(0, min(bounds))

    def refusal(self, amount: int, month: date, *, by_key: bool) -> dict[str, Any] | None:
        """Return the data of the refusal that the ledger must give to this amount; None if it must admit it."""
        if self.is_frozen:
            return {"type": "wallet_frozen", "debt_micros": max(0, -self.available)}
        if self.available < amount:
            return {"type": "insufficient_balance", "available_micros": self.available}
        limits = [("organization", self.limit, False)] + ([("key", self.key_limit, True)] if by_key else [])
        for name, limit, of_key in limits:
            left = None if limit is None else max(0, limit - self.spent(month, by_key=of_key))
            if left is not None and left < amount:
                return {"type": "spend_limit_reached", "limit": name, "left_micros": left}
        return None
