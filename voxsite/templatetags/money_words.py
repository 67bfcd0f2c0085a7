"""What templates of other apps say of money, which those apps know nothing of."""

from typing import Any

from django import template
from django.utils import timezone

from accounts.errors import VoxsiteError
from accounts.models import ApiKey, Organization
from billing import months, next_step
from billing.models import MonthlySpend

register = template.Library()


@register.simple_tag
def next_step_after(error: VoxsiteError | None) -> next_step.NextStep | None:
    """Return where one may go who was refused for want of money."""
    return next_step.after(error) if error is not None else None


@register.simple_tag
def month_of_keys(organization: Organization) -> dict[Any, int]:
    """Return what each key has spent and holds in this month, in micro-dollars, by its id: for all in one query."""
    spends = MonthlySpend.objects.filter(
        wallet__organization=organization, api_key__isnull=False, month=months.month_of(timezone.now())
    )
    return dict(spends.values_list("api_key_id", "spent_micros"))


@register.filter
def spent_by(spends: dict[Any, int], key: ApiKey) -> int:
    """Return what the key has spent, of what `month_of_keys` gave."""
    return spends.get(key.pk, 0)
