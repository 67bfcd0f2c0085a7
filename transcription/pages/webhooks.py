"""Pages of webhooks: endpoints, their log, one delivery. Gate, query, form, render. For admins and owners."""

import json
import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access
from accounts.decorators import page
from accounts.errors import Conflict, InvalidField, NotFound
from accounts.gate import limits
from accounts.links import page_url, redirect_to_page
from accounts.models import Membership, Role
from accounts.sent_forms import RefusedRedirect, sent_once
from transcription.models import Delivery, DeliveryQuerySet, DeliveryState, WebhookEndpoint
from transcription.pages.webhook_forms import EndpointForm
from transcription.webhooks import delivery as deliveries
from transcription.webhooks import endpoints, outbox

PAGE_ROWS = 25
RECENT_ROWS = 10


@page
@require_safe
def webhooks(request: HttpRequest) -> HttpResponse:
    """List the endpoints, and the last deliveries."""
    membership = access.require_role(request, Role.ADMIN)
    rows = WebhookEndpoint.objects.filter(organization=membership.organization).order_by("created_at")
    context = {"endpoints": rows, "deliveries": _of(membership)[:RECENT_ROWS]}
    return render(request, "transcription/webhooks.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
@sent_once
def new(request: HttpRequest) -> HttpResponse:
    """Register an endpoint."""
    membership = access.require_role(request, Role.ADMIN)
    form = EndpointForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = endpoints.register(membership.organization, **form.cleaned_data)
        except InvalidField as error:
            form.add_error(str(error.data["param"]), error.message)
        except Conflict as error:
            form.add_error(None, error.message)
        else:
            messages.success(request, "Endpoint added. Send it a test to see whether it works.")
            return redirect_to_page(request, "webhook-endpoint", made.pk)
    return render(request, "transcription/webhook_new.html", {"form": form}, status=400 if form.errors else 200)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def endpoint(request: HttpRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Show an endpoint with its log. A POST changes it."""
    row = _endpoint(request, endpoint_id)
    form = EndpointForm(request.POST or None, endpoint=row)
    if request.method == "POST" and form.is_valid():
        try:
            endpoints.change(row, **form.cleaned_data)
        except InvalidField as error:
            form.add_error(str(error.data["param"]), error.message)
        else:
            messages.success(request, "Endpoint saved.")
            return redirect_to_page(request, "webhook-endpoint", row.pk)
    shown = _of(access.membership_for(request)).filter(endpoint=row)
    context = {"endpoint": row, "form": form, "deliveries": shown[:RECENT_ROWS]}
    return render(request, "transcription/webhook_endpoint.html", context, status=400 if form.errors else 200)


@page
@require_POST
@sent_once
def send_test(request: HttpRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Send an endpoint a test, and show what comes of it."""
    row = _endpoint(request, endpoint_id)
    if not row.is_on:
        messages.error(request, "The endpoint is off. Turn it on first.")
        return RefusedRedirect(page_url(row.organization_id, "webhook-endpoint", row.pk))
    limits.spend(row.organization, scope="webhooks")
    return redirect_to_page(request, "webhook-delivery", outbox.test(row).pk)


@page
@require_POST
def turn_on(request: HttpRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    row = _endpoint(request, endpoint_id)
    endpoints.turn_on(row)
    messages.success(request, "Endpoint turned on. It receives events from now on.")
    return redirect_to_page(request, "webhook-endpoint", row.pk)


@page
@require_POST
def turn_off(request: HttpRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    row = _endpoint(request, endpoint_id)
    endpoints.turn_off(row.pk, now=timezone.now())
    messages.success(request, "Endpoint turned off. It receives nothing until you turn it on.")
    return redirect_to_page(request, "webhook-endpoint", row.pk)


@page
@require_POST
def delete(request: HttpRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    try:
        endpoints.delete(_endpoint(request, endpoint_id))
    except NotFound:
        # A double click, or somebody else was quicker.
        messages.info(request, "This endpoint no longer exists.")
    else:
        messages.success(request, "Endpoint deleted.")
    return redirect_to_page(request, "webhooks")


@page
@require_safe
def log(request: HttpRequest) -> HttpResponse:
    """List all deliveries, newest first, or those in one state or to one endpoint."""
    membership = access.require_role(request, Role.ADMIN)
    rows = _of(membership)
    state = request.GET.get("state", "")
    if state in DeliveryState.values:
        rows = rows.filter(state=state)
    chosen = _chosen_endpoint(membership, request.GET.get("endpoint", ""))
    if chosen is not None:
        rows = rows.filter(endpoint=chosen)
    before = request.GET.get("before", "")
    if before:
        rows = rows.older_than(get_object_or_404(Delivery.objects.of(membership.organization), pk=before))
    found = list(rows[: PAGE_ROWS + 1])
    context = {
        "deliveries": found[:PAGE_ROWS],
        "states": [("", "All"), *DeliveryState.choices],
        "state": state,
        "endpoint": chosen,
        "is_first_page": not before,
        "next_before": found[PAGE_ROWS - 1].pk if len(found) > PAGE_ROWS else "",
    }
    return render(request, "transcription/webhook_log.html", context)


@page
@require_safe
def delivery(request: HttpRequest, delivery_id: str) -> HttpResponse:
    """Show a delivery: what is sent, and each attempt with its answer."""
    row = _delivery(request, delivery_id)
    context = {
        "delivery": row,
        "attempts": list(row.attempts.order_by("-number")),
        "body": json.dumps(json.loads(row.body), indent=2, ensure_ascii=False),
    }
    return render(request, "transcription/webhook_delivery.html", context)


@page
@require_POST
@sent_once
def send_again(request: HttpRequest, delivery_id: str) -> HttpResponse:
    row = _delivery(request, delivery_id)
    limits.spend(row.organization, scope="webhooks")
    try:
        deliveries.send_again(row, now=timezone.now())
    except Conflict as error:
        messages.error(request, error.message)
        return RefusedRedirect(page_url(row.organization_id, "webhook-delivery", row.pk))
    messages.success(request, "The webhook is sent again.")
    return redirect_to_page(request, "webhook-delivery", row.pk)


def _of(membership: Membership) -> DeliveryQuerySet:
    return Delivery.objects.of(membership.organization).select_related("endpoint").newest_first()


def _endpoint(request: HttpRequest, endpoint_id: uuid.UUID) -> WebhookEndpoint:
    membership = access.require_role(request, Role.ADMIN)
    return endpoints.find(membership.organization, endpoint_id=endpoint_id)


def _delivery(request: HttpRequest, delivery_id: str) -> Delivery:
    membership = access.require_role(request, Role.ADMIN)
    rows = Delivery.objects.of(membership.organization).select_related("endpoint", "organization")
    return get_object_or_404(rows, pk=delivery_id)


def _chosen_endpoint(membership: Membership, text: str) -> WebhookEndpoint | None:
    """Return the endpoint of a filter, None for no filter. Raises NotFound."""
    if not text:
        return None
    try:
        key = uuid.UUID(text)
    except ValueError:
        key = uuid.UUID(int=0)
    return endpoints.find(membership.organization, endpoint_id=key)
