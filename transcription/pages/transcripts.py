"""Pages of transcripts: upload, one transcript, downloads. Gate, query, form, render."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from accounts.access import membership_for, organization_for, person
from accounts.decorators import page
from accounts.error_types import ErrorType
from accounts.errors import BadMedia, Conflict, NotFound, PaymentRequired, VoxsiteError
from accounts.gate import limits, request_log
from accounts.links import page_url, redirect_to_page
from accounts.models import Membership
from accounts.sent_forms import RefusedRedirect, sent_once
from billing import money, next_step, statements, tariff
from billing.pages.banners import money_banners
from transcription import answers, jobs, recordings, submissions
from transcription.jobs import corrections, naming
from transcription.models import Import, Job, JobItem, Status
from transcription.pages import batches, sample, sharing
from transcription.pages.corrections import address_of as corrections_url
from transcription.pages.finding_forms import MAX_PHRASES, MAX_QUERY_CHARACTERS
from transcription.pages.forms import DOWNLOADS, AskForm, FormatForm, UploadForm
from transcription.speech import correcting, search_words, turns
from transcription.speech.formats import FORMATS

PAGE_ROWS = 25


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one uploaded file: its job, or the error."""

    name: str
    job: Job | None = None
    error: VoxsiteError | None = None


# --- Upload ----------------------------------------------------------------------------------------------------------


@page
@require_http_methods(["GET", "HEAD", "POST"])
@sent_once
def upload(request: HttpRequest) -> HttpResponse:
    """Submit one recording, or several as one job. The script sends one here, for JSON, and several by `batches`.

    A recording is a file of the request or lies behind a link.
    """
    form = UploadForm(request.POST or None)
    outcomes: list[Outcome] = []
    if request.method == "POST":
        files = request.FILES.getlist("files")
        if not files and not request.POST.get("link", "").strip():
            form.add_error(None, "Choose a recording or enter a link to one.")
        if form.is_valid():
            outcomes = _submit_all(request, files=files, form=form)
        if request.accepts("application/json") and not request.accepts("text/html"):
            return _outcome_json(outcomes, form=form, membership=membership_for(request))
        if job := next((outcome.job for outcome in outcomes if outcome.job is not None), None):
            for outcome in outcomes:
                if outcome.error is not None:
                    messages.warning(request, f"“{outcome.name}” was left out: {outcome.error.message}")
            return redirect_to_page(request, "transcript", job.pk)
    context = {
        "form": form,
        "outcomes": outcomes,
        "affordable": _affordable(request),
        "money_banners": money_banners(organization_for(request)),
        "example_micros": tariff.price_of("standard", 600_000),
        **sample.offer(organization_for(request)),
    }
    return render(request, "transcription/upload.html", context, status=400 if request.method == "POST" else 200)


def _submit_all(request: HttpRequest, *, files: Sequence["UploadedFile[Any]"], form: UploadForm) -> list[Outcome]:
    """Return the outcome of each file that is refused, and of the job of the others."""
    if not files:
        return [_submit_link(request, form=form)]
    if len(files) == 1 and not form.cleaned_data["link"]:
        return [_submit(request, file=files[0], form=form)]
    try:
        job, refused = batches.submit_form(request, files=files, form=form)
    except VoxsiteError as error:
        return [Outcome(name=f"{len(files)} file{'s' if len(files) > 1 else ''}", error=error)]
    outcomes = [
        Outcome(name=name, error=_with_advice(error) if isinstance(error, BadMedia) else error)
        for name, error in refused
    ]
    return [Outcome(name=job.name, job=job), *outcomes] if job else outcomes


def _submit(request: HttpRequest, *, file: "UploadedFile[Any]", form: UploadForm) -> Outcome:
    organization = organization_for(request)
    name = recordings.display_name(file.name or "")
    try:
        limits.spend(organization, scope="uploads")
        submission = batches.submission_of(request, form=form, file_count=1)
        job = submissions.submit_file(submission, upload=file)
    except BadMedia as error:
        return Outcome(name=name, error=_with_advice(error))
    except VoxsiteError as error:
        return Outcome(name=name, error=error)
    return Outcome(name=name, job=job)


def _submit_link(request: HttpRequest, *, form: UploadForm) -> Outcome:
    link = form.cleaned_data["link"]
    try:
        limits.spend(organization_for(request), scope="uploads")
        job = submissions.submit_url(batches.submission_of(request, form=form, file_count=1), url=link)
    except VoxsiteError as error:
        return Outcome(name=link, error=error)
    return Outcome(name=job.name, job=job)


def _with_advice(error: BadMedia) -> BadMedia:
    """Return the refusal of a recording. If an option of the form would let it in, the message names the option."""
    if error.type != ErrorType.TRUNCATED_AUDIO:
        return error
    return BadMedia(
        f"{error.message} To transcribe its beginning, select “Accept incomplete files”.", error_type=error.type
    )


def _outcome_json(outcomes: list[Outcome], *, form: UploadForm, membership: Membership) -> HttpResponse:
    if not outcomes:
        message = " ".join(str(text) for texts in form.errors.values() for text in texts)
        # The options are at fault and not the file, which can be sent again once they are right.
        return JsonResponse({"message": message, "may_retry": True}, status=400)
    outcome = outcomes[0]
    if outcome.error is not None:
        error = outcome.error
        return JsonResponse(
            {
                "message": error.message,
                "next_step": next_step.as_json(error, membership=membership),
                # The page keeps a file that another option, a payment or a pause would let in.
                "may_retry": error.type == ErrorType.TRUNCATED_AUDIO or error.http_status in (402, 429, 503),
            },
            status=error.http_status,
        )
    job = outcome.job
    assert job is not None, "an outcome has a job or an error"
    is_known = job.quoted_micros is not None
    return JsonResponse(
        {
            "name": job.name,
            "url": page_url(membership.organization_id, "transcript", job.pk),
            # Of a recording that is still to be downloaded, neither is known.
            "length_ms": job.duration_ms if is_known else None,
            "price": money.display_text(job.quoted_micros) if job.quoted_micros is not None else None,
        },
        status=201,
    )


def _affordable(request: HttpRequest) -> list[dict[str, Any]]:
    """Return for each model how much audio the available balance covers, in milliseconds."""
    free = statements.balance(organization_for(request)).available_micros
    return [
        {"model": model.capitalize(), "ms": max(0, free) * 3_600_000 // tariff.rate_of(model)}
        for model in tariff.models()
    ]


# --- One transcript --------------------------------------------------------------------------------------------------


@page
@require_GET
def transcript(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    return _show_transcript(request, _job(request, job_id))


@page
@require_POST
def ask(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Summarize the transcript, or answer a question about it. Every member may do this, as every member may upload."""
    job = _job(request, job_id)
    form = AskForm(request.POST)
    if not form.is_valid():
        return _show_transcript(request, job, form=form, status=400)
    chosen = form.cleaned_data
    by = person(request)
    try:
        limits.spend(job.organization, scope="completions")
        if chosen["act"] == "ask":
            answer = answers.ask(job, question=chosen["question"], token=chosen["token"], by=by)
        else:
            answer = answers.summarise(job, token=chosen["token"], by=by)
    except VoxsiteError as error:
        return _show_transcript(request, job, form=form, error=error, status=error.http_status)
    return redirect(f"{page_url(job.organization_id, 'transcript', job.pk)}#answer-{answer.pk}")


def _show_transcript(
    request: HttpRequest,
    job: Job,
    *,
    form: AskForm | None = None,
    format_form: FormatForm | None = None,
    error: VoxsiteError | None = None,
    status: int = 200,
) -> HttpResponse:
    item = _item(request, job)
    context: dict[str, Any] = {
        **_standing(job, item),
        "downloads": DOWNLOADS,
        "format_form": format_form or FormatForm(),
    }
    if job.api_key_id is not None:
        context["ordered_by"] = request_log.of_job(job.organization, job_id=job.pk)
    if not context["is_part"]:
        context.update(naming.tag_choices(job))
    if item is None:
        context.update(_items_page(request, job))
    elif item.status == Status.COMPLETED:
        try:
            original = jobs.original_of_item(item)
        except NotFound as missing:
            context["missing"] = missing.message
        else:
            found = corrections.of(item)
            result = correcting.corrected(original, found)
            versions = {number: revision.number for number, revision in found.revisions.items()}
            phrases = search_words.phrases_of(request.GET.get("q", "")[:MAX_QUERY_CHARACTERS])[:MAX_PHRASES]
            shown, found_count = turns.with_found(turns.paragraphs(result, versions=versions), phrases=phrases)
            context.update(
                result=result,
                turns=shown,
                phrases=phrases,
                found_count=found_count,
                speakers=turns.speakers(correcting.without_empty(result)),
                waveform=turns.waveform(result),
                merged=[
                    (speaker, result.label_of(speaker), result.label_of(found.speaker_of(speaker) or ""))
                    for speaker in found.merged
                ],
                **sharing.for_members(request, item),
                share_url=corrections_url("transcript-share", item),
                sentences_url=corrections_url("transcript-sentences", item),
                speakers_url=corrections_url("transcript-speakers", item),
                # Answers belong to a job, so only a job with a single transcript has them.
                answers=job.answers.all() if job.item_count == 1 else (),
                offer=answers.quote(result) if job.item_count == 1 else None,
                ask_form=form or AskForm(),
                ask_error=error,
                # One token for each form, so that a refused request can be sent again.
                tokens={"summarise": uuid.uuid4(), "ask": uuid.uuid4()},
            )
    return render(request, "transcription/transcript.html", context, status=status)


@page
@require_GET
def progress(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Return the progress of a running job or item. When it has ended, make the browser reload the page."""
    job = _job(request, job_id)
    standing = _standing(job, _item(request, job))
    if not standing["is_running"]:
        return HttpResponseClientRefresh()
    return render(request, "transcription/progress.html", standing)


@page
@require_GET
def download(request: HttpRequest, job_id: uuid.UUID, format_name: str = "") -> HttpResponse:
    """Send the transcript in the format that the address names, or else the form."""
    job = _job(request, job_id)
    item = _item(request, job)
    if item is None or (format_name and format_name not in FORMATS):
        raise Http404
    form = FormatForm(request.GET, format_name=format_name)
    if not form.is_valid():
        return _show_transcript(request, job, format_form=form, status=400)
    chosen = FORMATS[form.format_name]
    transcript = replace(jobs.retrieve_item(item), title=item.title)
    response = HttpResponse(chosen.render(transcript, options=form.options), content_type=chosen.content_type)
    # An attachment, with the name of the customer's file: browsers must never show a transcript as a page of this site.
    name = f"{recordings.stem(item.title, otherwise='transcript')}.{chosen.extension.lstrip('.')}"
    response["Content-Disposition"] = content_disposition_header(True, name)
    return response


@page
@require_POST
def cancel(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    job = _job(request, job_id)
    try:
        jobs.cancel(job)
    except Conflict as error:
        job.refresh_from_db()
        if job.status != Status.CANCELED:
            messages.warning(request, error.message)
    else:
        cost = f"{money.display_text(job.cost_micros)} was" if job.cost_micros else "Nothing was"
        messages.success(request, f"“{job.name}” canceled. {cost} charged.")
    return redirect_to_page(request, "transcript", job.pk)


@page
@require_POST
@sent_once
def run_again(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Transcribe what failed or was canceled once more, for example after a top-up. The recordings are still here."""
    job = _job(request, job_id)
    limits.spend(job.organization, scope="uploads")
    try:
        again = jobs.run_again(job)
    except (Conflict, PaymentRequired) as error:
        messages.error(request, error.message)
        return RefusedRedirect(page_url(job.organization_id, "transcript", job.pk))
    return redirect_to_page(request, "transcript", again.pk)


@page
@require_POST
def delete(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    try:
        job = _job(request, job_id)
    except NotFound:
        # A double click, or somebody else was quicker.
        messages.info(request, "This transcript no longer exists.")
        return redirect_to_page(request, "transcripts")
    jobs.delete(job)
    messages.success(request, f"“{job.name}” deleted, with its recording. The charge stays in the ledger.")
    return redirect_to_page(request, "transcripts")


def _job(request: HttpRequest, job_id: uuid.UUID) -> Job:
    organization = organization_for(request)
    job = Job.objects.of(organization).filter(pk=job_id).first()
    if job is None:
        raise NotFound("Transcript not found.")
    # It was read already.
    job.organization = organization
    return job


def _item(request: HttpRequest, job: Job) -> JobItem | None:
    """Return the item that the query names by its position, counted from 1, or the only item of a job.

    Returns None for a job of several items without a position in the query. Raises Http404 for an unknown position.
    """
    position = request.GET.get("item", "")
    if not position:
        return job.items.select_related("media").get() if job.item_count == 1 else None
    if not (position.isascii() and position.isdecimal() and len(position) <= 6):
        raise Http404
    item = job.items.select_related("media").filter(position=int(position) - 1).first()
    if item is None:
        raise Http404
    return item


def _standing(job: Job, item: JobItem | None) -> dict[str, Any]:
    """Return what templates say about a job, or about one item of a job of several."""
    is_part = item is not None and job.item_count > 1
    return {
        "job": job,
        "item": item,
        "is_part": is_part,
        # What a canceled or failed job, or item, costs nevertheless.
        "paid_micros": item.cost_micros if is_part and item is not None else job.cost_micros,
        # In pages of a job alone: an item says its length.
        "billed_seconds": _billed_seconds(job, item) if job.cost_micros and not is_part else 0,
        "is_running": not (item if is_part and item is not None else job).is_final,
        "ended_count": job.item_count - job.items_left,
        # The site has the bytes of a link to get itself.
        "is_downloaded": job.status == Status.UPLOADING and Import.objects.filter(upload__items__job=job).exists(),
        "may_run_again": not is_part and jobs.may_run_again(job),
        "known_count": job.item_count - job.items_unverified,
        # Somebody may say that no more files come.
        "waits_for_files": job.status in (Status.UPLOADING, Status.VERIFYING) and job.uploads_completed_at is None,
    }


def _billed_seconds(job: Job, item: JobItem | None) -> int:
    """Return the billed seconds of a job; without a question if its only item is here."""
    return jobs.billed_seconds(job) if item is None else jobs.billed_seconds_of(item)


def _items_page(request: HttpRequest, job: Job) -> dict[str, Any]:
    """Return one page of the items of a batch, from the position in the query on."""
    after = request.GET.get("after", "")
    first = int(after) if after.isascii() and after.isdecimal() and len(after) <= 6 else 0
    rows = jobs.items_page(job, position=first, limit=PAGE_ROWS + 1)
    return {
        "items": rows[:PAGE_ROWS],
        "next_first": rows[PAGE_ROWS].position if len(rows) > PAGE_ROWS else None,
        "is_first_page": first == 0,
    }
