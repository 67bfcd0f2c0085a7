"""Pages of top-ups: choose an amount, pay at Stripe, see the result, list payments, request a refund."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from redis.exceptions import RedisError

from accounts import access
from accounts.decorators import page
from accounts.errors import Conflict, InvalidField, UpstreamFailed
from accounts.gate import limits
from accounts.links import page_url, redirect_to_page
from accounts.models import Organization, Role
from accounts.sent_forms import RedirectOnce, sent_once
from billing import checkouts, claw_backs, money, pricing, refund_math, refunds, statements, topups
from billing.forms import NeededForm, PaymentCursorForm, RefundForm, TopUpForm
from billing.models import Wallet
from billing.models.payments import TopUp, TopUpState
from billing.models.reversals import RefundState

PAGE_ROWS = 25
# Shorter than the interval at which the page reloads itself.
SECONDS_BETWEEN_CHECKS = 4
# Replaces the error's own sentence, which says that nothing was charged: the person may have paid before.
SILENT = "Stripe is not responding. If you did pay, do not pay again. Otherwise try again in a minute."


@page
@require_http_methods(["GET", "HEAD", "POST"])
@sent_once
def top_up(request: HttpRequest) -> HttpResponse:
    """Show the products; a POST redirects to Stripe's pay page."""
    organization = access.require_role(request, Role.ADMIN).organization
    needed = NeededForm(request.GET)
    needed_cents = needed.cleaned_data["needed"] if needed.is_valid() else None
    form = TopUpForm(request.POST or None, initial={"amount": suggested_product(needed_cents)})
    if request.method == "POST" and form.is_valid():
        try:
            # Each request creates a session at Stripe.
            limits.spend(organization, scope="topups")
            checkout = topups.start_checkout(
                organization,
                amount_cents=form.amount_cents,
                person=access.person(request),
                save_card=form.cleaned_data["save_card"],
                success_url=_address(organization, "billing:top-up-success"),
                cancel_url=_address(organization, "billing:top-up-cancelled"),
            )
        except InvalidField as error:
            form.add_error("custom", error.message)
        except UpstreamFailed as error:
            form.add_error(None, error.message)
            return _show_top_up(request, form=form, needed_cents=needed_cents, status=error.http_status)
        else:
            # Who goes back and sends the form again finds the payment as it is then.
            return RedirectOnce(checkout.url, again=page_url(organization.pk, "billing:top-up-pay", checkout.topup.pk))
    return _show_top_up(request, form=form, needed_cents=needed_cents, status=400 if form.errors else 200)


@page
@require_safe
def success(request: HttpRequest, topup_id: uuid.UUID) -> HttpResponse:
    """Show the state of a payment after asking Stripe. It is called paid only if the ledger has the credit."""
    organization = access.require_role(request, Role.ADMIN).organization
    topup = _refreshed(get_object_or_404(TopUp.objects.of(organization), pk=topup_id))
    return render(request, "billing/success.html", {"topup": topup, **_amounts(topup)})


@page
@require_safe
def cancelled(request: HttpRequest, topup_id: uuid.UUID) -> HttpResponse:
    """Say that nothing was paid, unless it was: a person who pays and then goes back in the browser also comes here."""
    organization = access.require_role(request, Role.ADMIN).organization
    topup = _refreshed(get_object_or_404(TopUp.objects.of(organization), pk=topup_id))
    if topup.is_paid or topup.state == TopUpState.UNDER_REVIEW:
        return redirect_to_page(request, "billing:top-up-success", topup.pk)
    return render(request, "billing/cancelled.html", {"topup": topup, **_amounts(topup)})


@page
@require_safe
def pay(request: HttpRequest, topup_id: uuid.UUID) -> HttpResponse:
    """Redirect to Stripe's pay page while it is open, else to the state of the payment."""
    topup = _topup_to_check(request, topup_id)
    try:
        url = checkouts.page_of(topup)
    except UpstreamFailed:
        messages.error(request, SILENT)
        return redirect_to_page(request, "billing:payments")
    return redirect(url) if url else redirect_to_page(request, "billing:top-up-success", topup.pk)


@page
@require_POST
def cancel(request: HttpRequest, topup_id: uuid.UUID) -> HttpResponse:
    """Close Stripe's pay page. If the payment was made just before, show it as paid."""
    topup = _topup_to_check(request, topup_id)
    try:
        topup = checkouts.cancel(topup)
    except UpstreamFailed:
        messages.error(request, SILENT)
        return redirect_to_page(request, "billing:payments")
    shown = money.display_text(topup.amount_cents * money.MICROS_PER_CENT)
    if topup.state in {TopUpState.EXPIRED, TopUpState.FAILED}:
        messages.success(request, f"Payment of {shown} canceled. Nothing was charged.")
    elif topup.state == TopUpState.PENDING:
        messages.warning(
            request, f"Stripe is processing the payment of {shown}, so it was not canceled. Check again soon."
        )
    else:
        return redirect_to_page(request, "billing:top-up-success", topup.pk)
    return redirect_to_page(request, "billing:payments")


@page
@require_safe
def history(request: HttpRequest) -> HttpResponse:
    """List the payments, newest first."""
    organization = access.require_role(request, Role.ADMIN).organization
    cursor = PaymentCursorForm(request.GET)
    before_id = cursor.cleaned_data["before"] if cursor.is_valid() else None
    before = TopUp.objects.of(organization).filter(pk=before_id).first() if before_id else None
    wallet = Wallet.objects.of(organization).first() or Wallet(organization=organization)
    rows = with_offers(payment_rows(organization, limit=PAGE_ROWS + 1, before=before), wallet=wallet)
    return render(
        request,
        "billing/payments.html",
        {
            "balance": statements.balance_of(wallet),
            "payments": rows[:PAGE_ROWS],
            "next_cursor": rows[PAGE_ROWS - 1]["topup"].pk if len(rows) > PAGE_ROWS else None,
            "is_first_page": before is None,
            "refund_days": settings.REFUND_DAYS,
        },
    )


@page
@require_http_methods(["GET", "HEAD", "POST"])
def refund(request: HttpRequest, topup_id: uuid.UUID) -> HttpResponse:
    """Show what a refund of the unspent part would do; a POST requests it."""
    organization = access.require_role(request, Role.ADMIN).organization
    found = TopUp.objects.of(organization).prefetch_related("refunds", "disputes")
    topup = get_object_or_404(found, pk=topup_id)
    wallet = Wallet.objects.of(organization).first() or Wallet(organization=organization)
    offer = refunds.offers([topup], wallet=wallet, now=timezone.now())[topup.pk]
    form = RefundForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            limits.spend(organization, scope="topups")
            # Refund the amount that the page showed. If part of it was spent since, ask again instead of refunding
            # less.
            made = refunds.request(
                topup,
                person=access.person(request),
                amount_cents=form.cleaned_data["amount_cents"],
                token=form.cleaned_data["token"],
            )
        except UpstreamFailed as error:
            messages.warning(request, error.message)
            return redirect_to_page(request, "billing:payments")
        except (Conflict, InvalidField) as error:
            form.add_error(None, error.message)
            topup.refresh_from_db()
            wallet.refresh_from_db()
            offer = refunds.offers([topup], wallet=wallet, now=timezone.now())[topup.pk]
        else:
            if made.state == RefundState.FAILED:
                # The form was sent again after Stripe had refused the refund.
                messages.warning(request, made.failure)
                return redirect_to_page(request, "billing:payments")
            shown = money.display_text(made.amount_cents * money.MICROS_PER_CENT)
            messages.success(
                request, f"{shown} goes back to the payment method that was used. It can take 5 to 10 days to arrive."
            )
            return redirect_to_page(request, "billing:payments")
    context = {
        "balance": statements.balance_of(wallet),
        "topup": topup,
        "form": form,
        "offer": offer,
        "token": uuid.uuid4(),
        "is_late": offer.until is not None and offer.until < timezone.now(),
        "is_frozen": wallet.is_frozen,
        "refund_days": settings.REFUND_DAYS,
        **_amounts(topup),
        **_consequences(topup, offer, wallet=wallet),
    }
    return render(request, "billing/refund.html", context, status=400 if form.errors else 200)


def _topup_to_check(request: HttpRequest, topup_id: uuid.UUID) -> TopUp:
    """Return the organization's top-up. Charges the rate limit if it is open, because the caller then calls Stripe."""
    organization = access.require_role(request, Role.ADMIN).organization
    topup = get_object_or_404(TopUp.objects.of(organization), pk=topup_id)
    if topup.is_open:
        limits.spend(organization, scope="topups")
    return topup


def _refreshed(topup: TopUp) -> TopUp:
    """Return the top-up after asking Stripe, at most once in a few seconds however often the page is reloaded."""
    return topup if not topup.is_open or _was_just_checked(topup) else topups.confirm(topup)


def _was_just_checked(topup: TopUp) -> bool:
    """Return whether Stripe was asked in the last seconds, and mark the top-up as checked now."""
    try:
        return not cache.add(f"billing:checked-topup:{topup.pk}", "checked", timeout=SECONDS_BETWEEN_CHECKS)
    except RedisError:
        # Without Redis, call Stripe once too often rather than not show that the payment arrived.
        return False


def product_cards() -> list[dict[str, int]]:
    """Return the products with what each costs and credits."""
    return [
        {
            "amount_cents": amount_cents,
            "amount_micros": amount_cents * money.MICROS_PER_CENT,
            "bonus_micros": pricing.bonus_cents(amount_cents) * money.MICROS_PER_CENT,
            "total_micros": (amount_cents + pricing.bonus_cents(amount_cents)) * money.MICROS_PER_CENT,
        }
        for amount_cents in pricing.PRODUCTS_CENTS
    ]


def payment_rows(organization: Organization, *, limit: int, before: TopUp | None = None) -> list[dict[str, Any]]:
    """Return the newest top-ups. before: the last one of the previous page."""
    found = TopUp.objects.of(organization).newest_first()
    if before is not None:
        found = found.filter(Q(created_at__lt=before.created_at) | Q(created_at=before.created_at, id__lt=before.pk))
    return [{"topup": topup, **_amounts(topup)} for topup in found.prefetch_related("refunds", "disputes")[:limit]]


def with_offers(rows: list[dict[str, Any]], *, wallet: Wallet) -> list[dict[str, Any]]:
    """Return rows of payments of a wallet with what can be refunded of each."""
    offers = refunds.offers([row["topup"] for row in rows], wallet=wallet, now=timezone.now())
    return [{**row, "offer": offers[row["topup"].pk]} for row in rows]


def suggested_product(needed_cents: int | None) -> str:
    """Return the initial choice: the smallest product that covers the needed amount, else the second one."""
    covering = (cents for cents in pricing.PRODUCTS_CENTS if needed_cents is not None and cents >= needed_cents)
    return str(next(covering, pricing.PRODUCTS_CENTS[1]))


def _show_top_up(request: HttpRequest, *, form: TopUpForm, needed_cents: int | None, status: int) -> HttpResponse:
    context = {
        "form": form,
        "products": product_cards(),
        "refund_days": settings.REFUND_DAYS,
        "needed_micros": needed_cents * money.MICROS_PER_CENT if needed_cents else None,
    }
    return render(request, "billing/top_up.html", context, status=status)


def _address(organization: Organization, name: str) -> str:
    """Return the absolute address of an organization's page about a top-up, with a placeholder for its id."""
    nobody = uuid.UUID(int=0)
    path = page_url(organization.pk, name, nobody).replace(str(nobody), topups.TOPUP_ID_PLACEHOLDER)
    return f"{settings.SITE_URL}{path}"


def _amounts(topup: TopUp) -> dict[str, int]:
    return {
        "paid_micros": topup.amount_cents * money.MICROS_PER_CENT,
        "bonus_micros": topup.bonus_cents * money.MICROS_PER_CENT,
        "total_micros": (topup.amount_cents + topup.bonus_cents) * money.MICROS_PER_CENT,
    }


def _consequences(topup: TopUp, offer: refunds.Refundable, *, wallet: Wallet) -> dict[str, int]:
    """Return what a refund of the offer takes from the balance, its bonus part, and what remains, in micro-dollars."""
    returned_cents = claw_backs.returned_cents(topup)
    leaving_micros = refund_math.clawed_micros(
        paid_cents=topup.amount_cents,
        bonus_cents=topup.bonus_cents,
        returned_cents=returned_cents + offer.amount_cents,
    ) - claw_backs.taken_micros(topup)
    offer_micros = offer.amount_cents * money.MICROS_PER_CENT
    return {
        "returned_micros": returned_cents * money.MICROS_PER_CENT,
        "offer_micros": offer_micros,
        "leaving_micros": leaving_micros,
        "leaving_bonus_micros": leaving_micros - offer_micros,
        "staying_micros": wallet.available_micros - leaving_micros,
    }
