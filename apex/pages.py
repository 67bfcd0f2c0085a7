"""The playground: a page for a conversation with a model. Nothing of it is stored here.

Without JavaScript, the form returns a page with the whole answer, and carries the turns before it. With JavaScript, a
script sends the same form to `stream`, shows the answer as it arrives, and keeps the turns in the browser's tab.
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
from accounts.gate import idempotency, limits
from accounts.models import Membership, Organization
from apex import catalogue, markdown, service, sse
from apex.forms import DEFAULT_MAX_TOKENS, MAX_HISTORY_LENGTH, ChatForm
from billing import money, next_step

# Estimated prices are rounded up to a hundredth of a cent.
ESTIMATE_STEP_MICROS = 100


@page
@require_http_methods(["GET", "HEAD", "POST"])
def playground(request: HttpRequest) -> HttpResponse:
    """Show the form, and after a POST the whole answer. Every member may use it, as every member may upload."""
    form = ChatForm(request.POST or None)
    context: dict[str, Any] = {"turns": _earlier_turns(form)}
    status = 200
    if request.method == "POST" and not form.is_valid():
        status = 400
    elif request.method == "POST" and "price" not in request.POST:
        try:
            done = _complete(organization_for(request), form)
            context["turns"] = [*context["turns"], {"said": form.cleaned_data["message"], **_shown_answer(done)}]
            form = _next_form(form, done)
        except VoxsiteError as error:
            context["error"], status = error, error.http_status
    context |= {
        "form": form,
        "is_configured": service.is_configured(),
        "models": list(catalogue.models().values()),
        "max_price_micros": _max_price_micros(form),
        "max_history_length": MAX_HISTORY_LENGTH,
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
def rendered(request: HttpRequest) -> HttpResponse:
    """Return the text of an answer as HTML, for the page's script."""
    # A hostile text takes a second.
    limits.spend(organization_for(request), scope="rendering")
    return HttpResponse(markdown.render(request.POST.get("text", "")))


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
    try:
        limits.spend(membership.organization, scope="completions")
    except VoxsiteError as error:
        return JsonResponse({"error": _shown(error, membership=membership)}, status=error.http_status)
    response = StreamingHttpResponse(_events(membership, form.body), content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-store"
    # Without this header, proxies such as nginx would buffer the stream.
    response["X-Accel-Buffering"] = "no"
    return response


def _earlier_turns(form: ChatForm) -> list[dict[str, Any]]:
    """Return the turns that the form carries, as the page shows them. None of a form that is broken."""
    if not form.is_bound:
        return []
    form.is_valid()
    turns = form.cleaned_data.get("history", ())
    return [{"said": said, "text": text, "html": markdown.render(text)} for said, text in turns]


def _shown_answer(done: service.CompletedChat) -> dict[str, Any]:
    return {"text": done.text, "html": markdown.render(done.text), "done": done}


def _next_form(form: ChatForm, done: service.CompletedChat) -> ChatForm:
    """Return the form for the next message: with the same options, and this turn in its history.

    The oldest turns are left out when they do not fit any more.
    """
    turns = [*form.cleaned_data["history"], (form.cleaned_data["message"], done.text)]
    while turns and len(json.dumps(turns, ensure_ascii=False)) > MAX_HISTORY_LENGTH:
        turns.pop(0)
    kept = {name: form.cleaned_data[name] for name in ("system", "model", "temperature", "max_tokens")}
    return ChatForm(initial=kept | {"history": json.dumps(turns, ensure_ascii=False)})


def _complete(organization: Organization, form: ChatForm) -> service.CompletedChat:
    limits.spend(organization, scope="completions")
    # The answer can take minutes, during which the connection would be idle.
    database_connection.release()
    try:
        return service.complete_and_wait(
            organization,
            body=form.body,
            idempotency_key=idempotency.own_key("playground", form.cleaned_data["token"]),
        )
    except Conflict as error:
        raise Conflict("This message is already being answered, and is charged once.", error_type=error.type) from error


async def _events(membership: Membership, body: dict[str, Any]) -> AsyncIterator[bytes]:
    """Yield the stream. The request starts when the first item is read. If the reader leaves, the relay is closed."""
    relay = service.relay_for(
        membership.organization, body={**body, "stream": True, "stream_options": {"include_usage": True}}
    )
    try:
        head = await relay.head()
        if head.error is not None:
            # Wait until the hold is released: the page says that nothing was charged.
            await relay.charged_micros()
            yield _event({"error": _shown(head.error, membership=membership)})
            return
        async for chunk in relay:
            yield chunk
        yield _event({"cost": money.display_text(await relay.charged_micros())})
    finally:
        relay.close()


def _event(content: dict[str, Any]) -> bytes:
    return sse.format_event(json.dumps(content).encode())


def _shown(error: VoxsiteError, *, membership: Membership) -> dict[str, Any]:
    """Return an error as the page's script shows it."""
    return {"message": error.message, "next_step": next_step.as_json(error, membership=membership)}


def _max_price_micros(form: ChatForm) -> int | None:
    """Return the most that the form can cost in micro-dollars, None if it is invalid.

    For a form that was not sent yet, this is the price of an answer to an empty message after the earlier turns.
    """
    if not form.is_bound:
        before = [{"role": "user", "content": form.initial.get("history", "")}]
        body: dict[str, Any] = {
            "messages": [*before, {"role": "user", "content": ""}],
            "max_tokens": form.initial.get("max_tokens", DEFAULT_MAX_TOKENS),
        }
    elif form.is_valid():
        body = form.body
    else:
        return None
    try:
        return -(-service.max_price_micros(body) // ESTIMATE_STEP_MICROS) * ESTIMATE_STEP_MICROS
    except BadRequest:
        return None
