"""How money looks to people, and what templates of other apps say of it. Decides nothing."""

from typing import Any

from django import template
from django.utils import timezone

from accounts import links
from accounts.errors import VoxsiteError
from accounts.models import ApiKey, Organization
from billing import forms, months, next_step, spend_alerts
from billing.models import MonthlySpend
from billing.money import MICROS_PER_CENT, MICROS_PER_DOLLAR, cents_down, display_text

register = template.Library()

NONE_YET = "\N{EN DASH}"


@register.filter
def money(micros: int | None) -> str:
    """Return exact dollars with at least two decimals and at most six: $0.30, $0.000417."""
    return NONE_YET if micros is None else display_text(micros)


@register.filter
def signed_money(micros: int) -> str:
    """Return exact dollars that always carry their sign, a minus being the true minus sign."""
    return money(micros) if micros <= 0 else f"+{money(micros)}"


@register.filter
def cents(micros: int | None) -> str:
    """Return dollars and whole cents, rounded down: what can surely be spent."""
    return display_text(cents_down(micros or 0) * MICROS_PER_CENT)


@register.filter
def figure(micros: int | None) -> str:
    """Return an amount as a big figure: from a dollar on in whole cents, rounded down, and exact below."""
    return cents(micros) if micros is not None and abs(micros) >= MICROS_PER_DOLLAR else money(micros)


@register.filter
def cents_money(cents: int | None) -> str:
    """Return an amount that is kept in cents as exact dollars: 20000 is $200.00."""
    return NONE_YET if cents is None else display_text(cents * MICROS_PER_CENT)


@register.simple_tag(takes_context=True)
def next_step_after(context: template.Context, error: VoxsiteError | None) -> next_step.NextStep | None:
    """Return where one may go who was refused for want of money."""
    if error is None:
        return None
    return next_step.after(error, organization_id=links.organization_id_of(context.get("request")))


@register.simple_tag
def month_of_keys(organization: Organization) -> dict[Any, int]:
    """Return what each key has spent and holds in this month, in micro-dollars, by its id: for all in one query."""
    spends = MonthlySpend.objects.filter(
        wallet__organization=organization, api_key__isnull=False, month=months.month_of(timezone.now())
    )
    return dict(spends.values_list("api_key_id", "spent_micros"))


@register.simple_tag
def alerts_form_of(key: ApiKey) -> forms.AlertsForm:
    """Return the form of the alerts of a key's monthly limit, with the present ones."""
    percents = spend_alerts.percents_of(key.organization)
    return forms.AlertsForm.showing(percents.get(key.pk, []))


@register.filter
def spent_by(spends: dict[Any, int], key: ApiKey) -> int:
    """Return what the key has spent, of what `month_of_keys` gave."""
    return spends.get(key.pk, 0)
