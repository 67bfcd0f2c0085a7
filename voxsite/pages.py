"""Home page, pricing, docs and overview, the mail folder of development, and the pages for 404, 429, 500 and 503."""

import json
import sys
from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template import loader
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_safe

from accounts import links, outages
from accounts.access import membership_for, organization_for
from accounts.decorators import open_page, page, show_missing
from accounts.error_types import URL_TYPES
from accounts.errors import MethodNotAllowed
from accounts.models import ApiKey, Organization, Role
from apex import catalogue
from billing import money, statements, tariff, usage
from billing import pricing as pricing_rules
from billing.forms import CalculatorForm
from billing.pages.banners import money_banners
from billing.pages.usage import day_chart
from transcription.pages import listing
from transcription.pages.webhook_forms import EVENT_HELP
from voxsite import api_reference, doc_pages, guides, health, mail_folder

PLACEHOLDER_KEY = "YOUR_API_KEY"
# Of the chart on the overview.
CHART_DAYS = 30


# --- For everybody ---------------------------------------------------------------------------------------------------


@open_page
@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    return render(
        request, "site/landing.html", {"prices": tariff.price_table(), "guides": guides.GUIDES, **_signup_credit()}
    )


@open_page
@require_safe
def pricing(request: HttpRequest) -> HttpResponse:
    """Show all prices. With `hours` and `model` in the address, also what so much audio costs."""
    is_asked = "hours" in request.GET
    form = CalculatorForm(request.GET if is_asked else None, initial={"hours": 10})
    context = {
        "prices": tariff.price_table(),
        "chat_models": list(catalogue.models().values()),
        "products": [(cents, pricing_rules.bonus_cents(cents)) for cents in pricing_rules.PRODUCTS_CENTS],
        "refund_days": settings.REFUND_DAYS,
        "form": form,
        **_signup_credit(),
    }
    if is_asked and form.is_valid():
        price_micros = form.price_micros()
        missing_cents = -(-price_micros // money.MICROS_PER_CENT)
        payment_cents = pricing_rules.payment_for_cents(missing_cents)
        context |= {
            "hours_text": f"{form.cleaned_data['hours'].normalize():f}",
            "price_micros": price_micros,
            "payment_cents": payment_cents,
            "payment_bonus_cents": pricing_rules.bonus_cents(payment_cents),
        }
    return render(request, "site/pricing.html", context, status=400 if form.errors else 200)


@open_page
@require_safe
def docs(request: HttpRequest, slug: str = "") -> HttpResponse:
    """Show a page of the docs. For a member, the examples show the first characters of the newest key."""
    found = doc_pages.named(slug) if slug else doc_pages.PAGES[0]
    if found is None:
        raise Http404
    key = _shown_key(request)
    context = _docs_context(found, key=key, organization_id=_organization_id(request))
    return render(request, "site/docs.html", context | _place_in_docs(found.path))


@open_page
@require_safe
def coming_from(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what customers of another service change, and what differs."""
    guide = guides.named(slug)
    if guide is None:
        raise Http404
    key = _shown_key(request)
    shown = guide.shown_for(site_url=settings.SITE_URL, key=key, organization_id=_organization_id(request))
    return render(request, "site/coming_from.html", {"guide": shown, "key": key} | _place_in_docs(request.path))


@require_safe
@cache_control(max_age=3600, public=True)
def docs_search(_: HttpRequest) -> HttpResponse:
    """Answer with all sections of the docs, for the search in the reader's browser."""
    return HttpResponse(_sections_as_json(), content_type="application/json")


@lru_cache(maxsize=1)
def _sections_as_json() -> str:
    """Return [[path with anchor, title of the page, heading, text], ...]. It depends only on code and settings."""
    rendered = [
        (page.path, page.title, "site/docs.html", _docs_context(page, key=PLACEHOLDER_KEY, organization_id=""))
        for page in doc_pages.PAGES
    ]
    rendered += [
        (
            reverse("coming-from", args=[guide.slug]),
            f"Coming from {guide.origin}",
            "site/coming_from.html",
            {"guide": guide.shown_for(site_url=settings.SITE_URL, key=PLACEHOLDER_KEY), "key": PLACEHOLDER_KEY},
        )
        for guide in guides.GUIDES
    ]
    common = {"site_url": settings.SITE_URL, "support_email": settings.SUPPORT_EMAIL}
    return json.dumps(
        [
            [f"{path}#{anchor}", title, heading, text]
            for path, title, template, context in rendered
            for anchor, heading, text in doc_pages.sections_of(loader.render_to_string(template, common | context))
        ],
        ensure_ascii=False,
    )


def _docs_context(found: doc_pages.DocPage, *, key: str, organization_id: str) -> dict[str, Any]:
    operations = {each.anchor: each for each in api_reference.operations(site_url=settings.SITE_URL, key=key)}
    return {
        "doc": found,
        "sections": [f"site/docs/{name}.html" for name in found.sections],
        "operations": [operations[name] for name in found.operations],
        "prices": tariff.price_table(),
        "chat_models": list(catalogue.models().values()),
        "drain_seconds": settings.APEX_DRAIN_SECONDS,
        "guides": guides.GUIDES,
        "upload_hours": settings.ORDERABLE_HOURS,
        "import_minutes": settings.IMPORT_MAX_SECONDS // 60,
        "key": key,
        "webhook_events": list(EVENT_HELP.items()),
        "webhook_examples": guides.receivers(site_url=settings.SITE_URL, organization_id=organization_id),
        "error_table": doc_pages.ERRORS,
        "recording_types": doc_pages.RECORDING_TYPES,
        "url_types": URL_TYPES,
    }


def _place_in_docs(path: str) -> dict[str, Any]:
    before, after = doc_pages.neighbors(path)
    return {"contents": doc_pages.contents(), "before": before, "after": after, "place": path}


# In the order of the page: (check of `health`, what people call it, what stands still without it).
PARTS = (
    ("database", "Website and API", "Pages and requests fail."),
    ("storage", "Recordings and transcripts", "Uploads and downloads fail."),
    ("engine", "Transcription", "New recordings wait. They are transcribed when it is back."),
    ("workers", "Processing", "New recordings wait. They are transcribed when it is back."),
    ("redis", "Live progress", "Progress is shown late, and new recordings start later."),
    ("clock", "Background tasks", "Webhooks, emails and automatic top-ups are late."),
)


@open_page
@require_safe
def status(request: HttpRequest, *, readiness: health.CachedChecks = health.READINESS) -> HttpResponse:
    """Show people what /health/ready tells monitors."""
    checks = readiness.outcomes()
    parts = [
        {"name": name, "is_up": checks.get(check) == "ok", "is_down": checks.get(check) == "failed", "without": without}
        for check, name, without in PARTS
    ]
    response = render(request, "site/status.html", {"parts": parts, "is_up": all(part["is_up"] for part in parts)})
    response["Cache-Control"] = "no-cache, private"
    return response


@require_safe
def openapi(_: HttpRequest) -> HttpResponse:
    response = JsonResponse(api_reference.document())
    # Some client generators run in browsers, and nothing in this document is secret.
    response["Access-Control-Allow-Origin"] = "*"
    return response


def _signup_credit() -> dict[str, Any]:
    return {"signup_credit_micros": settings.SIGNUP_CREDIT_CENTS * money.MICROS_PER_CENT}


def _organization_id(request: HttpRequest) -> str:
    """Return the id of a member's organization, "" for others."""
    if not request.user.is_authenticated:
        return ""
    try:
        return str(organization_for(request).pk)
    except Http404:
        return ""


def _shown_key(request: HttpRequest) -> str:
    """Return the prefix of the newest live key, so that the reader recognises it. The prefix is not secret."""
    if not request.user.is_authenticated:
        return PLACEHOLDER_KEY
    try:
        organization = organization_for(request)
    except Http404:
        return PLACEHOLDER_KEY
    key = ApiKey.objects.of(organization).filter(revoked_at__isnull=True).order_by("-created_at").first()
    return f"{key.prefix}..." if key else PLACEHOLDER_KEY


# --- For members -----------------------------------------------------------------------------------------------------


@page
def own_page(request: HttpRequest) -> HttpResponse:
    """Redirect an address without organization to this page of the person's own one: bookmarks, the end of a sign-in.

    A form that is sent here does nothing: it does not say which organization it means.
    """
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed("This page is out of date. Open it again, and send the form once more.")
    return redirect(f"/o/{organization_for(request).pk}{request.get_full_path()}")


@page
@require_GET
def overview(request: HttpRequest) -> HttpResponse:
    membership = membership_for(request)
    organization = membership.organization
    recent = listing.latest(request)
    steps = [
        {"title": "Create an account", "is_done": True, "url": ""},
        {
            "title": "Upload a recording",
            "is_done": bool(recent["jobs"]),
            "url": links.page_url(organization.pk, "upload"),
            "text": "Transcribe it in the browser.",
        },
        {
            "title": "Create an API key",
            "is_done": ApiKey.objects.of(organization).exists(),
            "url": links.page_url(organization.pk, "keys"),
            "text": "Transcribe from your own programs.",
        },
    ]
    if not membership.may(Role.ADMIN):
        steps = steps[:-1]
    return render(
        request,
        "site/overview.html",
        {
            **recent,
            "month": statements.month(organization),
            "money_banners": money_banners(organization),
            "chart": _recent_chart(organization) if membership.may_pay else "",
            "steps": [] if all(step["is_done"] for step in steps) else steps,
        },
    )


def _recent_chart(organization: Organization) -> str:
    """Return what the last days cost as an SVG element, "" if they cost nothing."""
    today = timezone.now().date()
    by_day = usage.cost_by_day(organization, since=today - timedelta(days=CHART_DAYS - 1), until=today)
    return day_chart(by_day) if any(by_day.values()) else ""


# --- Development -----------------------------------------------------------------------------------------------------


@require_safe
def dev_mail(request: HttpRequest) -> HttpResponse:
    return render(request, "site/mail_list.html", {"mails": mail_folder.newest()})


@require_safe
def dev_mail_message(request: HttpRequest, name: str) -> HttpResponse:
    mails = mail_folder.of_file(name)
    if not mails:
        raise Http404
    return render(request, "site/mail.html", {"mails": mails})


# --- Errors ----------------------------------------------------------------------------------------------------------


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return show_missing(request)


def too_many_requests(request: HttpRequest) -> HttpResponse:
    """Show the page for 429 of the account pages, whose limits are all counted by the minute."""
    response = render(request, "429.html", status=429)
    response["Retry-After"] = "60"
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Show the page for 500, and for 503 if a part is away. It uses neither database nor session."""
    # Django calls this while it handles the exception.
    exception = sys.exc_info()[1]
    outage = outages.error_of(exception) if exception is not None else None
    context = {
        "request_id": getattr(request, "request_id", ""),
        "outage": outage,
        "support_email": settings.SUPPORT_EMAIL,
    }
    text = loader.render_to_string("500.html", context)
    return HttpResponse(text, status=outage.http_status if outage else 500, headers=outage.headers if outage else None)
