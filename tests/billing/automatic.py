"""Automatic top-ups of $200 at a balance of $5, up to $500 a month."""

from accounts.models import Organization, User
from billing import automatic_topups
from billing.models.payments import AutomaticTopUp, TopUp


def turn_on(organization: Organization, person: User, **changes: int) -> AutomaticTopUp:
    amounts = {"threshold_cents": 500, "amount_cents": 20_000, "monthly_cap_cents": 50_000}
    return automatic_topups.turn_on(organization, person=person, **{**amounts, **changes})


def states() -> list[str]:
    return list(TopUp.objects.filter(is_automatic=True).order_by("created_at").values_list("state", flat=True))
