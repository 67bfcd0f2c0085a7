"""Links to one transcript: members make and revoke them, and anybody who has one reads, and listens if it says so.

Every member may, as every member may correct a transcript. What strangers see has the name of the recording, its text,
speakers and times, and nothing else of the organization.
"""

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.adapter import get_adapter
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from accounts import shown_once
from accounts.access import organization_for, person
from accounts.decorators import open_page, page
from accounts.errors import NotFound, VoxsiteError
from accounts.gate import limits
from accounts.sent_forms import RefusedRedirect, sent_once
from transcription import jobs
from transcription.models import JobItem
from transcription.pages import playback
from transcription.pages.corrections import address_of, item_of
from transcription.pages.forms import ShareForm
from transcription.speech import turns

# Where a new link waits for the page that shows it.
SLOT = "shown_once_link"
# The address is a secret: it must not reach a cache, a search engine or, by a click, another site.
HEADERS = {
    "Cache-Control": "no-store, private",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
}


@page
@require_POST
@sent_once
def share(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Make a link, and show it once on the page of the transcript."""
    item = item_of(request, job_id)
    form = ShareForm(request.POST)
    try:
        if not form.is_valid():
            raise NotFound("Choose for how long the link works.")
        chosen = form.cleaned_data
        link, token = jobs.share(
            item, days=chosen["days"], has_audio=chosen["has_audio"], by=person(request), now=timezone.now()
        )
    except VoxsiteError as error:
        messages.error(request, error.message)
        return RefusedRedirect(address_of("transcript", item))
    organization = organization_for(request)
    shown_once.put(request, f"{link.pk} {token}", organization_id=organization.pk, slot=SLOT)
    return redirect(f"{address_of('transcript', item)}#share")


@page
@require_POST
def revoke(request: HttpRequest, job_id: uuid.UUID, link_id: uuid.UUID) -> HttpResponse:
    item = item_of(request, job_id)
    if not jobs.revoke_link(item, link_id=link_id):
        raise NotFound("Link not found.")
    messages.success(request, "Link revoked. It no longer works.")
    return redirect(address_of("transcript", item))


def for_members(request: HttpRequest, item: JobItem) -> dict[str, Any]:
    """Return what the page of a transcript says about its links, and the token of one that was just made."""
    links = jobs.live_links(item, now=timezone.now())
    kept = shown_once.take(request, organization_id=item.job.organization_id, slot=SLOT) or ""
    link_id, _, token = kept.partition(" ")
    return {
        "share_form": ShareForm(),
        "share_links": links,
        # Of another transcript, in another window: it is not shown here, and lost.
        "share_token": token if link_id in {str(link.pk) for link in links} else "",
    }


# --- For whoever has the link ----------------------------------------------------------------------------------------


def _for_strangers(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Decorate a view that a link opens: limited by address. Its answers, 404 too, stay out of caches and indexes."""

    def limited(request: HttpRequest, share_token: str) -> HttpResponseBase:
        limits.spend_of_address(get_adapter().get_client_ip(request), scope="shared")
        return view(request, share_token)

    shown = open_page(limited)

    @wraps(view)
    def answer(request: HttpRequest, share_token: str) -> HttpResponseBase:
        response = shown(request, share_token)
        for name, value in HEADERS.items():
            response[name] = value
        return response

    return answer


@_for_strangers
@require_safe
def shared(request: HttpRequest, share_token: str) -> HttpResponse:
    """Show the transcript, with corrections. To look at it is no retrieval, as with its own page."""
    link = jobs.shared_by(share_token, now=timezone.now())
    result = jobs.transcript_of_item(link.item)
    context = {
        "link": link,
        "item": link.item,
        "result": result,
        "turns": turns.paragraphs(result),
        "speakers": turns.speakers(result),
        "waveform": turns.waveform(result) if link.has_audio else None,
        "share_token": share_token,
    }
    return render(request, "transcription/shared.html", context)


@_for_strangers
@require_safe
def shared_audio(request: HttpRequest, share_token: str) -> HttpResponseBase:
    """Send the recording, or a part of it, if it was shared."""
    link = jobs.shared_by(share_token, now=timezone.now())
    if not link.has_audio or link.item.media is None:
        raise NotFound("This link has no recording.")
    return playback.recording(request, link.item.media)
