"""The balance page: balance, banners, prices, and for those who may pay also top-ups and the newest entries."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.access import membership_for
from accounts.decorators import page
from billing import automatic_topups, ledger_reader, money, statements, tariff
from billing.forms import TopUpForm
from billing.models import payments
from billing.pages.banners import money_banners
from billing.pages.ledger import entry_rows
from billing.pages.top_ups import payment_rows, product_cards

RECENT_ENTRIES = 8
RECENT_PAYMENTS = 5
# Ten thousand recordings in progress are ten thousand holds.
MAX_SHOWN_HOLDS = 20


@page
@require_safe
def billing(request: HttpRequest) -> HttpResponse:
    """Show the balance and the open holds; to admins also the products and the newest payments and entries."""
    membership = membership_for(request)
    organization = membership.organization
    holds = statements.open_holds(organization, limit=MAX_SHOWN_HOLDS + 1)
    context: dict[str, Any] = {
        "holds": holds[:MAX_SHOWN_HOLDS],
        "has_more_holds": len(holds) > MAX_SHOWN_HOLDS,
        "money_banners": money_banners(organization),
        "month": statements.month(organization),
        "prices": tariff.price_table(),
        "signup_credit_micros": settings.SIGNUP_CREDIT_CENTS * money.MICROS_PER_CENT,
    }
    if membership.may_pay:
        topup_settings = automatic_topups.settings_of(organization)
        context |= {
            "form": TopUpForm(),
            "products": product_cards(),
            "automatic": topup_settings,
            "charge": automatic_topups.charge_at_threshold(topup_settings),
            "card": payments.SavedCard.objects.of(organization).first(),
            "payments": payment_rows(organization, limit=RECENT_PAYMENTS),
            "entries": entry_rows(organization, ledger_reader.entries(organization, limit=RECENT_ENTRIES)),
        }
    return render(request, "billing/billing.html", context)
