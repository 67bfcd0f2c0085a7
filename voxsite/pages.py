"""Home page, pricing, docs and overview, the mail folder of development, and the pages for 404 and 500."""

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template import loader
from django.views.decorators.http import require_GET, require_safe

from accounts.access import membership_for, organization_for
from accounts.decorators import open_page, page, show_missing
from accounts.models import ApiKey, Role
from apex import catalogue
from billing import money, statements, tariff
from billing.pages.banners import money_banners
from transcription.models import Job
from transcription.pages.webhook_forms import EVENT_HELP
from voxsite import api_reference, guides, mail_folder

RECENT_JOBS = 5
PLACEHOLDER_KEY = "YOUR_API_KEY"


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
    return render(request, "site/pricing.html", {"prices": tariff.price_table(), **_signup_credit()})


@open_page
@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Show guide and reference. For a member, the examples show the first characters of the newest key."""
    key = _shown_key(request)
    context = {
        "operations": api_reference.operations(site_url=settings.SITE_URL, key=key),
        "prices": tariff.price_table(),
        "chat_models": list(catalogue.models().values()),
        "drain_seconds": settings.APEX_DRAIN_SECONDS,
        "guides": guides.GUIDES,
        "upload_hours": settings.ORDERABLE_HOURS,
        "import_minutes": settings.IMPORT_MAX_SECONDS // 60,
        "key": key,
        "webhook_events": list(EVENT_HELP.items()),
        "webhook_examples": guides.receivers(site_url=settings.SITE_URL, organization_id=_organization_id(request)),
    }
    return render(request, "site/docs.html", context)


@open_page
@require_safe
def coming_from(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what customers of another service change, and what differs."""
    guide = guides.named(slug)
    if guide is None:
        raise Http404
    key = _shown_key(request)
    context = {"guide": guide.shown_for(site_url=settings.SITE_URL, key=key), "guides": guides.GUIDES, "key": key}
    return render(request, "site/coming_from.html", context)


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
@require_GET
def overview(request: HttpRequest) -> HttpResponse:
    membership = membership_for(request)
    organization = membership.organization
    jobs = list(Job.objects.of(organization).newest_first()[:RECENT_JOBS])
    steps = [
        {"title": "Create an account", "is_done": True, "url": ""},
        {
            "title": "Upload a recording",
            "is_done": bool(jobs),
            "url": "/transcripts/upload/",
            "text": "Transcribe it in the browser.",
        },
        {
            "title": "Create an API key",
            "is_done": ApiKey.objects.of(organization).exists(),
            "url": "/keys/",
            "text": "Transcribe from your own programs.",
        },
    ]
    if not membership.may(Role.ADMIN):
        steps = steps[:-1]
    return render(
        request,
        "site/overview.html",
        {
            "jobs": jobs,
            "live": [job for job in jobs if not job.is_final],
            "month": statements.month(organization),
            "money_banners": money_banners(organization),
            "steps": [] if all(step["is_done"] for step in steps) else steps,
        },
    )


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


def server_error(request: HttpRequest) -> HttpResponse:
    """Show the page for 500. It uses neither database nor session, because they may be the cause."""
    text = loader.render_to_string("500.html", {"request_id": getattr(request, "request_id", "")})
    return HttpResponse(text, status=500)
