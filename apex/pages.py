"""The playground: a page for trying a model with one message.

Without JavaScript, the form returns a page with the whole answer. With JavaScript, a script sends the same form to
`stream` and shows the answer as it arrives.
"""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST

from accounts import database_connection
from accounts.access import membership_for, organization_for
from accounts.decorators import page
from accounts.errors import BadRequest, Conflict, VoxsiteError
from accounts.gate import limits
from accounts.models import Organization
from apex import catalogue, service, sse
from apex.forms import DEFAULT_MAX_TOKENS, ChatForm
from billing import money, next_step

# Estimated prices are rounded up to a hundredth of a cent.
ESTIMATE_STEP_MICROS = 100


@page
@require_http_methods(["GET", "HEAD", "POST"])
def playground(request: HttpRequest) -> HttpResponse:
    """Show the form, and after a POST the whole answer. Every member may use it, as every member may upload."""
    form = ChatForm(request.POST or None)
    context: dict[str, Any] = {}
    status = 200
    if request.method == "POST" and not form.is_valid():
        status = 400
    elif request.method == "POST" and "price" not in request.POST:
        try:
            context["done"] = _complete(organization_for(request), form)
        except VoxsiteError as error:
            context["error"], status = error, error.http_status
    context |= {
        "form": form,
        "is_configured": service.is_configured(),
        "models": list(catalogue.models().values()),
        "max_price_micros": _max_price_micros(form),
        # The shown form is a new request, so it has a new token.
        "token": uuid.uuid4(),
    }
    return render(request, "apex/playground.html", context, status=status)


@page
@require_POST
def price(request: HttpRequest) -> HttpResponse:
    """Return the most that the form, as it is filled in now, can cost."""
    return render(request, "apex/price.html", {"max_price_micros": _max_price_micros(ChatForm(request.POST))})


@page
@require_POST
def stream(request: HttpRequest) -> HttpResponseBase:
    """Stream the answer to the page's script: OpenAI's chunks, then an event with the price."""
    form = ChatForm(request.POST)
    membership = membership_for(request)
    if not form.is_valid():
        message = " ".join(
            f"{form[name].label}: {' '.join(str(text) for text in texts)}" for name, texts in form.errors.items()
        )
        return JsonResponse({"error": {"message": message}}, status=400)
    may_pay = membership.may_pay
    try:
        limits.spend(membership.organization, scope="completions")
    except VoxsiteError as error:
        return JsonResponse({"error": _shown(error, may_pay=may_pay)}, status=error.http_status)
    response = StreamingHttpResponse(
        _events(membership.organization, form.body, may_pay=may_pay), content_type="text/event-stream; charset=utf-8"
    )
    response["Cache-Control"] = "no-store"
    # Without this header, proxies such as nginx would buffer the stream.
    response["X-Accel-Buffering"] = "no"
    return response


def _complete(organization: Organization, form: ChatForm) -> service.CompletedChat:
    limits.spend(organization, scope="completions")
    # The answer can take minutes, during which the connection would be idle.
    database_connection.release()
    try:
        return service.complete_and_wait(
            organization, body=form.body, idempotency_key=f"playground:{form.cleaned_data['token']}"
        )
    except Conflict as error:
        raise Conflict("This message is already being answered, and is charged once.", error_type=error.type) from error


async def _events(organization: Organization, body: dict[str, Any], *, may_pay: bool) -> AsyncIterator[bytes]:
    """Yield the stream. The request starts when the first item is read. If the reader leaves, the relay is closed."""
    relay = service.relay_for(organization, body={**body, "stream": True, "stream_options": {"include_usage": True}})
    try:
        head = await relay.head()
        if head.error is not None:
            # Wait until the hold is released: the page says that nothing was charged.
            await relay.charged_micros()
            yield _event({"error": _shown(head.error, may_pay=may_pay)})
            return
        async for chunk in relay:
            yield chunk
        yield _event({"cost": money.display_text(await relay.charged_micros())})
    finally:
        relay.close()


def _event(content: dict[str, Any]) -> bytes:
    return sse.format_event(json.dumps(content).encode())


def _shown(error: VoxsiteError, *, may_pay: bool) -> dict[str, Any]:
    """Return an error as the page's script shows it."""
    return {"message": error.message, "next_step": next_step.as_json(error, may_pay=may_pay)}


def _max_price_micros(form: ChatForm) -> int | None:
    """Return the most that the form can cost in micro-dollars, None if it is invalid.

    For a form that was not sent yet, this is the price of an answer to an empty message.
    """
    if not form.is_bound:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": ""}], "max_tokens": DEFAULT_MAX_TOKENS}
    elif form.is_valid():
        body = form.body
    else:
        return None
    try:
        return -(-service.max_price_micros(body) // ESTIMATE_STEP_MICROS) * ESTIMATE_STEP_MICROS
    except BadRequest:
        return None
