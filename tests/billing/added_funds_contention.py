"""What workers do at once, for test_added_funds, which imports no pytest either."""

from collections import Counter

from django.utils import timezone

from accounts.models import Organization
from billing import added_funds


def add(organization: Organization, worker: int) -> Counter[str]:
    """Ask for $10."""
    outcome = added_funds.add(organization, amount_cents=1_000, if_below_micros=None, now=timezone.now())
    return Counter({"repeated" if outcome.was_charged_before else "new": 1})
