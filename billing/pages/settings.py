"""The settings page: automatic top-up, saved card, low-balance mail, monthly limit and its alerts."""

import uuid
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from accounts import access, api_keys
from accounts.decorators import page
from accounts.errors import Conflict, InvalidField, UpstreamFailed
from accounts.links import redirect_to_page
from accounts.models import Organization, Role
from billing import automatic_topups, ledger, limits, money, saved_cards, spend_alerts
from billing.forms import (
    BY_AMOUNT,
    TO_TARGET,
    AlertsForm,
    AutomaticForm,
    LimitForm,
    LowBalanceForm,
    cents_of,
    dollars_of,
)
from billing.models import Wallet
from billing.models.payments import SavedCard

NOT_YET_FORGOTTEN = "We no longer charge it. Stripe has not deleted it yet; we will keep trying."


@page
@require_safe
def settings(request: HttpRequest) -> HttpResponse:
    return _show(request, organization=access.require_role(request, Role.ADMIN).organization)


@page
@require_POST
def automatic(request: HttpRequest) -> HttpResponse:
    """Turn automatic top-up on, or change its settings."""
    organization = access.require_role(request, Role.ADMIN).organization
    form = AutomaticForm(request.POST)
    if form.is_valid():
        bounds = {
            "threshold_cents": cents_of(form.cleaned_data["threshold"]),
            "monthly_cap_cents": cents_of(form.cleaned_data["monthly_cap"]),
        }
        amount_cents, person = cents_of(form.cleaned_data["amount"]), access.person(request)
        try:
            if form.is_to_target:
                automatic_topups.turn_on_to_target(organization, person=person, target_cents=amount_cents, **bounds)
            else:
                automatic_topups.turn_on(organization, person=person, amount_cents=amount_cents, **bounds)
        except InvalidField as error:
            param = str(error.data.get("param", "")).removesuffix("_cents").replace("target", "amount")
            form.add_error(param if param in form.fields else None, error.message)
        except Conflict as error:
            form.add_error(None, error.message)
        else:
            return _done(request, "Automatic top-up is on.")
    return _show(request, organization=organization, automatic_form=form, status=400)


@page
@require_POST
def automatic_off(request: HttpRequest) -> HttpResponse:
    automatic_topups.turn_off(access.require_role(request, Role.ADMIN).organization)
    return _done(request, "Automatic top-up is off.")


@page
@require_POST
def remove_card(request: HttpRequest) -> HttpResponse:
    organization = access.require_role(request, Role.ADMIN).organization
    try:
        is_forgotten = saved_cards.remove(organization)
    except UpstreamFailed as error:
        messages.error(request, error.message)
        return redirect_to_page(request, "billing:settings")
    sentence = "Card removed. Automatic top-up is off."
    return _done(request, sentence if is_forgotten else f"{sentence} {NOT_YET_FORGOTTEN}")


@page
@require_POST
def low_balance(request: HttpRequest) -> HttpResponse:
    """Set the balance below which owners get a mail."""
    organization = access.require_role(request, Role.ADMIN).organization
    form = LowBalanceForm(request.POST)
    if not form.is_valid():
        return _show(request, organization=organization, low_form=form, status=400)
    micros = form.micros
    ledger.set_low_balance(organization, threshold_micros=micros)
    return _done(
        request,
        "Low-balance alert turned off."
        if micros is None
        else f"Owners get an email when the balance falls below {money.display_text(micros)}.",
    )


@page
@require_POST
def limit(request: HttpRequest) -> HttpResponse:
    """Set the organization's monthly limit."""
    organization = access.require_role(request, Role.ADMIN).organization
    form = LimitForm(request.POST)
    if not form.is_valid():
        return _show(request, organization=organization, limit_form=form, status=400)
    try:
        _set_limit(organization, form=form)
    except InvalidField as error:
        form.add_error("raised_limit", error.message)
        return _show(request, organization=organization, limit_form=form, status=400)
    return _done(request, _told_of_limit(form))


@page
@require_POST
def alerts(request: HttpRequest) -> HttpResponse:
    """Choose at which parts of the organization's monthly limit owners get a mail."""
    organization = access.require_role(request, Role.ADMIN).organization
    form = AlertsForm(request.POST)
    if not form.is_valid():
        return _show(request, organization=organization, alerts_form=form, status=400)
    percents = spend_alerts.set_percents(organization, api_key=None, percents=form.cleaned_data["percents"])
    return _done(request, told_of_alerts(percents))


@page
@require_POST
def key_alerts(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Choose the same for the limit of a key. The form is on the page of the key."""
    organization = access.require_role(request, Role.ADMIN).organization
    key = api_keys.of_organization(organization, key_id=key_id)
    form = AlertsForm(request.POST)
    if form.is_valid():
        percents = spend_alerts.set_percents(organization, api_key=key, percents=form.cleaned_data["percents"])
        messages.success(request, told_of_alerts(percents))
    else:
        messages.error(request, f"Alerts not changed. {' '.join(map(str, form.errors['percents']))}")
    return redirect_to_page(request, "key", key.pk)


def told_of_alerts(percents: list[int]) -> str:
    """Return what a person is told who has set alerts."""
    if not percents:
        return "Alerts turned off."
    return f"Owners get an email when {', '.join(map(str, percents))} % of the monthly limit is spent."


def _set_limit(organization: Organization, *, form: LimitForm) -> None:
    # Both or neither: a raise that is refused leaves the limit of before.
    with transaction.atomic():
        ledger.set_monthly_limit(organization, limit_micros=form.micros)
        if form.temporary is not None:
            micros, until = form.temporary
            ledger.raise_monthly_limit(organization, limit_micros=micros, until=until)


def _told_of_limit(form: LimitForm) -> str:
    micros = form.micros
    if micros is None:
        return "Monthly limit removed."
    if form.temporary is not None:
        return (
            f"Monthly limit set to {money.display_text(form.temporary[0])} until the end of "
            f"{form.cleaned_data['raised_on']:%-d %b %Y}, then {money.display_text(micros)}."
        )
    if micros == 0:
        return "Spending is blocked. Free requests still work."
    return f"Monthly limit set to {money.display_text(micros)}."


def _done(request: HttpRequest, sentence: str) -> HttpResponse:
    messages.success(request, sentence)
    return redirect_to_page(request, "billing:settings")


def _show(
    request: HttpRequest,
    *,
    organization: Organization,
    automatic_form: Form | None = None,
    low_form: Form | None = None,
    limit_form: Form | None = None,
    alerts_form: Form | None = None,
    status: int = 200,
) -> HttpResponse:
    wallet = Wallet.objects.of(organization).first() or Wallet()
    topup_settings = automatic_topups.settings_of(organization)
    context: dict[str, Any] = {
        "automatic": topup_settings,
        "charge": automatic_topups.charge_at_threshold(topup_settings),
        "card": SavedCard.objects.of(organization).first(),
        "raised_until": wallet.raised_until if wallet.is_raised(now=timezone.now()) else None,
        "standing": limits.organization_standing(organization),
        "automatic_form": automatic_form
        or AutomaticForm(
            initial={
                "threshold": dollars_of(topup_settings.threshold_cents * money.MICROS_PER_CENT),
                "mode": BY_AMOUNT if topup_settings.target_cents is None else TO_TARGET,
                "amount": dollars_of(
                    (topup_settings.target_cents or topup_settings.amount_cents) * money.MICROS_PER_CENT
                ),
                "monthly_cap": dollars_of(topup_settings.monthly_cap_cents * money.MICROS_PER_CENT),
            }
        ),
        "low_form": low_form or LowBalanceForm.showing(wallet.low_balance_micros),
        "limit_form": limit_form or LimitForm.of(wallet),
        "alerts_form": alerts_form or AlertsForm.showing(spend_alerts.percents_of(organization).get(None, [])),
    }
    return render(request, "billing/settings.html", context, status=status)
