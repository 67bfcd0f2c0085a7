"""The balance page: balance, banners, prices, and for those who may pay also top-ups and the newest entries."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.access import membership_for
from accounts.decorators import page
from accounts.models import Organization
from billing import automatic_topups, ledger_reader, money, statements, tariff
from billing.forms import TopUpForm
from billing.models.payments import AutomaticTopUp
from billing.pages.banners import banners_of
from billing.pages.ledger import plain_rows
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
    account = Organization.objects.select_related("wallet", "automatic_topup", "saved_card").get(pk=organization.pk)
    wallet = getattr(account, "wallet", None)
    topup_settings = getattr(account, "automatic_topup", None) or AutomaticTopUp(organization=account)
    holds = statements.open_holds(organization, limit=MAX_SHOWN_HOLDS + 1)
    context: dict[str, Any] = {
        "holds": holds[:MAX_SHOWN_HOLDS],
        "has_more_holds": len(holds) > MAX_SHOWN_HOLDS,
        "balance": statements.balance_of(wallet),
        "money_banners": banners_of(wallet, topup_settings=topup_settings),
        "month": statements.month_of(wallet),
        "prices": tariff.price_table(),
        "signup_credit_micros": settings.SIGNUP_CREDIT_CENTS * money.MICROS_PER_CENT,
    }
    if membership.may_pay:
        context |= {
            "form": TopUpForm(),
            "products": product_cards(),
            "automatic": topup_settings,
            "charge": automatic_topups.charge_at_threshold(topup_settings),
            "card": getattr(account, "saved_card", None),
            "payments": payment_rows(organization, limit=RECENT_PAYMENTS),
            "entries": plain_rows(ledger_reader.latest(wallet, limit=RECENT_ENTRIES) if wallet else []),
        }
    return render(request, "billing/billing.html", context)
