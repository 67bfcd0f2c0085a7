"""What a person corrects on the page of a transcript: sentences, in JSON from the page's script, and speakers.

Every member may, as every member may delete a transcript. Those of other organizations are not found.
"""

import json
import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts.access import organization_for, person
from accounts.decorators import page
from accounts.errors import BadRequest, InvalidField, NotFound, VoxsiteError
from accounts.links import page_url
from transcription import jobs
from transcription.jobs import Edit, corrections
from transcription.models import Job, JobItem
from transcription.speech import correcting, turns


@page
@require_POST
def sentences(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Save new texts of sentences: {"edits": [{"segment", "version", "text"}]}.

    Answers {"lines": [...]} with the sentences as they are now. 409 with those of others, if somebody else corrected
    one of them since it was read: then nothing was saved.
    """
    item = item_of(request, job_id)
    try:
        edits = _read_edits(request)
        stale = jobs.revise(item, edits=edits, by=person(request))
    except VoxsiteError as error:
        return JsonResponse({"message": error.message}, status=error.http_status)
    if stale:
        message = "Someone else changed this in the meantime."
        return JsonResponse({"message": message, "lines": _lines(item, stale)}, status=409)
    return JsonResponse({"lines": _lines(item, [edit.segment for edit in edits])})


@page
@require_POST
def speakers(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Rename, merge or separate speakers, or give sentences to another one; then show the transcript."""
    item = item_of(request, job_id)
    asked = request.POST
    speaker = asked.get("speaker", "")
    try:
        match asked.get("act"):
            case "rename":
                jobs.name_speaker(item, speaker=speaker, name=asked.get("name", ""))
            case "merge":
                jobs.merge_speakers(item, speaker=speaker, into=asked.get("into", ""))
            case "separate":
                jobs.separate_speaker(item, speaker=speaker)
            case "move":
                moved = jobs.move(
                    item, segments=_numbers(asked.get("segments", "")), speaker=speaker, by=person(request)
                )
                if not speaker and asked.get("name", "").strip():
                    jobs.name_speaker(item, speaker=moved, name=asked["name"])
            case _:
                raise InvalidField("act", "Choose what to do with the speaker.")
    except NotFound:
        raise
    except VoxsiteError as error:
        messages.error(request, error.message)
    return redirect(address_of("transcript", item))


def address_of(name: str, item: JobItem) -> str:
    """Return the address of a page of an item by its URL name."""
    part = f"?item={item.position + 1}" if item.job.item_count > 1 else ""
    return f"{page_url(item.job.organization_id, name, item.job_id)}{part}"


def item_of(request: HttpRequest, job_id: uuid.UUID) -> JobItem:
    """Return the item that the query names by its position, counted from 1, or the only item of a job."""
    job = Job.objects.of(organization_for(request)).filter(pk=job_id).first()
    if job is None:
        raise NotFound("Transcript not found.")
    position = request.GET.get("item", "" if job.item_count > 1 else "1")
    if not (position.isascii() and position.isdecimal() and len(position) <= 6):
        raise Http404
    item = job.items.select_related("job").filter(position=int(position) - 1).first()
    if item is None:
        raise Http404
    return item


def _read_edits(request: HttpRequest) -> list[Edit]:
    try:
        asked = json.loads(request.body)
        return [
            Edit(segment=_whole(e["segment"]), version=_whole(e["version"]), text=_text(e["text"]))
            for e in asked["edits"]
        ]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadRequest("Send edits as JSON, each with segment, version and text.") from error


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("no whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    # Half a surrogate pair, which JSON may have, is in no encoding.
    value.encode()
    return value


def _numbers(text: str) -> list[int]:
    """Return the segments of a form: numbers with commas between them."""
    parts = text.split(",")[: jobs.MAX_EDITS]
    if not all(part.isascii() and part.isdecimal() and len(part) <= 9 for part in parts):
        raise InvalidField("segments", "The transcript has no such sentence.")
    return [int(part) for part in parts]


def _lines(item: JobItem, segments: list[int]) -> list[dict[str, Any]]:
    """Return how these segments are now, as the page's script needs it."""
    fresh = JobItem.objects.get(pk=item.pk)
    found = corrections.of(fresh)
    original = jobs.original_of_item(fresh)
    shown = []
    for number in segments:
        revision = found.revisions.get(number)
        segment = correcting.corrected_segment(original.segments[number], revision, found)
        shown.append(
            {
                "segment": number,
                "version": revision.number if revision else 0,
                "text": segment.text,
                "words": turns.word_places(segment),
            }
        )
    return shown
