"""The playground: one message to a model, for people. Gate, form, ask, render.

The form works without JavaScript and brings the whole answer; a script sends the same form to `stream` instead.
"""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST

from accounts import connections
from accounts.access import membership_for, organization_for
from accounts.errors import BadRequest, Conflict, VoxsiteError
from accounts.gate import limits
from accounts.models import Organization, Role
from accounts.page import page
from apex import catalogue, service, sse
from apex.forms import USUAL_MAX_TOKENS, ChatForm
from billing import money, next_step

# Prices before the act are rounded up to a hundredth of a cent.
MICROS_SHOWN = 100


@page
@require_http_methods(["GET", "HEAD", "POST"])
def playground(request: HttpRequest) -> HttpResponse:
    """Show the form, and the whole answer to what it sends. Any member may ask, as any may upload."""
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
        "most_micros": _most_micros(form),
        # What was refused, or answered, may be asked again: that is another wish.
        "token": uuid.uuid4(),
    }
    return render(request, "apex/playground.html", context, status=status)


@page
@require_POST
def price(request: HttpRequest) -> HttpResponse:
    """Return what the form costs at most, as it is filled in now."""
    return render(request, "apex/price.html", {"most_micros": _most_micros(ChatForm(request.POST))})


@page
@require_POST
def stream(request: HttpRequest) -> HttpResponseBase:
    """Return the answer as it is written, for the page's script: OpenAI's chunks, and at the end what it cost."""
    form = ChatForm(request.POST)
    membership = membership_for(request)
    if not form.is_valid():
        message = " ".join(f"{form[name].label}: {' '.join(texts)}" for name, texts in form.errors.items())
        return JsonResponse({"error": {"message": message}}, status=400)
    may_pay = membership.may(Role.ADMIN)
    try:
        limits.spend(membership.organization, scope="completions")
    except VoxsiteError as error:
        return JsonResponse({"error": _shown(error, may_pay=may_pay)}, status=error.http_status)
    response = StreamingHttpResponse(
        _events(membership.organization, form.body, may_pay=may_pay), content_type="text/event-stream; charset=utf-8"
    )
    response["Cache-Control"] = "no-store"
    # Proxies such as nginx would gather the pieces.
    response["X-Accel-Buffering"] = "no"
    return response


def _complete(organization: Organization, form: ChatForm) -> service.Completed:
    limits.spend(organization, scope="completions")
    # The model may take minutes.
    connections.release()
    try:
        return service.complete_and_wait(
            organization, body=form.body, idempotency_key=f"playground:{form.cleaned_data['token']}"
        )
    except Conflict as error:
        raise Conflict("This message is being answered already, and is charged once.", error_type=error.type) from error


async def _events(organization: Organization, body: dict[str, Any], *, may_pay: bool) -> AsyncIterator[bytes]:
    """Yield the stream. It begins to cost when it is first read, and a reader who leaves ends it."""
    relay = service.relay_for(organization, body={**body, "stream": True, "stream_options": {"include_usage": True}})
    try:
        head = await relay.head()
        if head.error is not None:
            # What was held is free again before the page says that nothing was charged.
            await relay.charged_micros()
            yield _event({"error": _shown(head.error, may_pay=may_pay)})
            return
        async for piece in relay:
            yield piece
        yield _event({"cost": money.display_text(await relay.charged_micros())})
    finally:
        relay.close()


def _event(content: dict[str, Any]) -> bytes:
    return sse.show(json.dumps(content).encode())


def _shown(error: VoxsiteError, *, may_pay: bool) -> dict[str, Any]:
    """Return an error as the page's script shows it."""
    way = next_step.after(error) if may_pay else None
    return {"message": error.message, "remedy": {"url": way.url, "words": way.words} if way else None}


def _most_micros(form: ChatForm) -> int | None:
    """Return what the form costs at most, None while it cannot be sent; of an empty one, the price of its answer."""
    if not form.is_bound:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": ""}], "max_tokens": USUAL_MAX_TOKENS}
    elif form.is_valid():
        body = form.body
    else:
        return None
    try:
        return -(-service.most_micros(body) // MICROS_SHOWN) * MICROS_SHOWN
    except BadRequest:
        return None
