"""TranscribeAPI's addresses for transcriptions: authenticate (the gate), read, one call, show.

Those about uploads are in `job_views`.
"""

from dataclasses import replace
from typing import Any

from django.conf import settings
from django.http import HttpResponseBase
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from django.utils.datastructures import MultiValueDict
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ParseError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import InvalidField, NotFound, VoxsiteError
from accounts.gate import idempotency
from billing import added_funds
from billing.stripe_api import CardDeclined
from transcription import jobs, recognition
from transcription.dialects import steps, waiting
from transcription.dialects.json_parsing import JsonParser
from transcription.dialects.open_calls import Handover
from transcription.dialects.transcribeapi import (
    answers,
    creation,
    errors,
    funds,
    manifest,
    results,
    schema,
    wire,
)
from transcription.dialects.transcribeapi.errors import Refused
from transcription.dialects.transcribeapi.gate import LargeJsonParser, TranscribeApiGateView, json_of
from transcription.dialects.transcribeapi.results import DIALECT
from transcription.dialects.transcribeapi.wire import Asked
from transcription.jobs import Submission
from transcription.models import Job
from transcription.recordings import signing
from transcription.speech.transcript import Transcript

JSON = "application/json"
FUNDS_CODES: dict[type[VoxsiteError], str] = {
    added_funds.NoSavedCard: "no_saved_card",
    added_funds.CapReached: "monthly_cap_reached",
    added_funds.TopUpInProgress: "topup_in_progress",
}
# What an Idempotency-Key of /add-funds keeps: the id of its top-up.
TOPUP_ID = "topup_id"


class TranscribeView(TranscribeApiGateView, waiting.WaitingGateView):
    """Transcribe a recording while the caller waits, or order the transcription of several."""

    parser_classes = [MultiPartParser, LargeJsonParser]
    orders = True
    turns = creation.TURNS

    def may_wait(self, request: Request) -> bool:
        return not _is_json(request)

    @extend_schema(operation_id="transcribeapi_transcribe", **schema.TRANSCRIBE)
    def post(self, request: Request) -> HttpResponseBase:
        """The `file` of a form, up to 30 MB and 10 minutes, is answered when it is transcribed. So is the one at a
        `url`. If that takes longer than 90 seconds, the answer is a job to be asked for (202).

        A JSON body with `files` orders a job, as `POST /transcribeapi/v1/jobs` does: its answer says where each file is
        to be sent.
        """
        if _is_json(request):
            self.invalid_code = errors.JOB_REQUEST
            return creation.respond(self, request, read=manifest.read_files, has_all_uploads=True, turns=self.turns)
        fields, upload = _form_of(request)
        asked = wire.read(fields, capabilities_of=recognition.capabilities_of)
        if upload is None and not asked.url:
            raise Refused("missing_file", "Attach an audio file in the `file` field.", param="file")
        if upload is not None:
            wire.require_sync_size(upload.size or 0)

        def show(job: Job, transcript: Transcript) -> Response:
            return Response(
                answers.show_result(
                    transcript,
                    job_id=str(job.pk),
                    model=job.model,
                    status=results.status_of(job),
                    bill=results.bill_of(job),
                    view=asked.view,
                )
            )

        return self.answer_when_done(
            self._submission(asked, is_limited=upload is not None),
            upload=upload,
            url="" if upload is not None else asked.url,
            asked=fields,
            show=show,
            handover=Handover(after_seconds=settings.TRANSCRIBEAPI_WAIT_SECONDS, show=_show_handed_over),
        )

    def _submission(self, asked: Asked, *, is_limited: bool) -> Submission:
        submission = steps.submission_of(
            self.caller,
            model=asked.model,
            options=asked.options,
            dialect=DIALECT,
            # Inside the transaction: one that is too long leaves no job, no hold and no file.
            in_transaction=(lambda job: wire.require_sync_length(job.duration_ms)) if is_limited else None,
        )
        return replace(
            submission,
            answer_options=asked.view.to_dict(),
            webhook=steps.webhook_of(self.caller, url=asked.webhook_url),
        )


class JobView(TranscribeApiGateView):
    """One job."""

    @extend_schema(
        operation_id="transcribeapi_get_job",
        summary="Get a job as TranscribeAPI does",
        tags=["TranscribeAPI"],
        responses={200: schema.Job, **schema.error_responses(401, 403, 404, 429)},
    )
    def get(self, request: Request, job_id: str) -> Response:
        """How a job stands. Once it has completed, `result_url` is where its result can be read for 7 days, without a
        key. `job_status` ends with `completed`, `failed` or `insufficient_funds`; `status` says more.
        """
        job = steps.find_job(self.caller, job_id)
        return Response(results.show_job(job, site_url=settings.SITE_URL, now=timezone.now()))


class JobResultView(TranscribeApiGateView):
    """The result of a job, for who has the key."""

    @extend_schema(
        operation_id="transcribeapi_get_result",
        summary="Get a result as TranscribeAPI shows it",
        tags=["TranscribeAPI"],
        responses={200: schema.Result, **schema.error_responses(401, 403, 404, 409, 429)},
    )
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """What the job's `result_url` has. An addition of ours."""
        return _result(request, steps.find_job(self.caller, job_id))


class ResultView(TranscribeApiGateView):
    """The result of a job, for who has its signed address."""

    needs_key = False

    @extend_schema(
        operation_id="transcribeapi_read_result",
        summary="Read a result at its signed address",
        tags=["TranscribeAPI"],
        auth=[],
        parameters=schema.SIGNATURE,
        responses={200: schema.Result, **schema.error_responses(403, 404, 409)},
    )
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """The address stands in the answers about a job and in its webhook. The signature stands for the key."""
        http = request._request
        try:
            signing.check(http.path, query=http.META.get("QUERY_STRING", ""), now=timezone.now())
        except signing.AddressExpired as error:
            raise Refused("result_expired", "This address has expired. The job's status has a new one.") from error
        number = steps.job_number(job_id)
        job = Job.objects.filter(pk=number, organization__closed_at__isnull=True).first() if number else None
        if job is None:
            raise NotFound("There is no such job any more.", error_type="job_not_found")
        return _result(request, job)


class AddFundsView(TranscribeApiGateView):
    """Buy credit with the saved card."""

    parser_classes = [JsonParser]
    post_scopes = ("topups",)

    @extend_schema(
        operation_id="transcribeapi_add_funds",
        summary="Add funds as TranscribeAPI does",
        tags=["TranscribeAPI"],
        request=schema.AddFundsRequest,
        responses={200: schema.AddedFunds, **schema.error_responses(400, 401, 402, 403, 409, 429, 500, 502, 503)},
        parameters=[schema.IDEMPOTENCY_KEY],
    )
    def post(self, request: Request) -> Response:
        """Charges the card that your organization saved when it topped up: $5 to $100, whole dollars. With
        `if_balance_below`, only if less than that can be spent. The same amount is charged once in five minutes,
        however often it is asked for, and within the monthly cap of automatic top-up.
        """
        amount_cents, below_micros = funds.read(json_of(request))

        organization = self.caller.organization

        def act(keep: idempotency.Keep) -> Response:
            try:
                outcome = added_funds.add(
                    organization,
                    amount_cents=amount_cents,
                    if_below_micros=below_micros,
                    now=timezone.now(),
                    # Key and top-up are one fact: a process may die between the charge and the answer.
                    in_transaction=lambda topup: keep(200, {TOPUP_ID: str(topup.pk)}),
                )
            except tuple(FUNDS_CODES) as error:
                raise Refused(FUNDS_CODES[type(error)], error.message) from error
            shown = funds.show(outcome)
            if outcome.state == "not_needed":
                keep(200, shown)
            return Response(shown)

        try:
            response = self.once(act)
            # Of a request that is repeated: the top-up of the first one, as it is now.
            if topup_id := response.data.get(TOPUP_ID):
                response.data = funds.show(added_funds.outcome_of(organization, topup_id=topup_id))
        except CardDeclined:
            # Nothing was charged: the same key may be used again.
            key = idempotency.key_of(self.caller.api_key, request.headers.get(idempotency.HEADER, ""))
            idempotency.forget(organization, key=key)
            raise
        return response


def _is_json(request: Request) -> bool:
    return (request.content_type or "").partition(";")[0].strip().lower() == JSON


def _form_of(request: Request) -> tuple[dict[str, str], Any]:
    """Return the text fields of a form and its file, or None. Raises Refused."""
    try:
        data, files = request.data, request.FILES
    except (ParseError, MultiPartParserError) as error:
        raise Refused("invalid_form_data", "The request is not valid multipart/form-data.") from error
    if not isinstance(data, MultiValueDict):
        # No body, and nothing that says what it would be.
        raise Refused("invalid_form_data", "Send multipart/form-data, or JSON with `files`.")
    fields = wire.read_form(data.lists())
    if len(files.getlist("file")) > 1:
        raise InvalidField("file", "Send one file in the field 'file', or several as a batch.")
    return fields, files.get("file")


def _show_handed_over(job: Job) -> Response:
    shown = results.show_job(job, site_url=settings.SITE_URL, now=timezone.now())
    return Response(shown, status=202)


def _result(request: Request, job: Job) -> HttpResponseBase:
    """Return the result document of a job. Raises Refused while there is none."""
    if not job.is_completed:
        status = results.status_of(job)
        raise Refused("result_not_available", f"The job has no result: it is {status}.", **answers.both(status))
    if job.item_count == 1:
        # To ask for the headers alone is no retrieval.
        transcript = jobs.transcript_of(job) if request.method == "HEAD" else jobs.retrieve(job)
        return Response(results.show_one(job, transcript))
    return steps.send_whole_result(job, document=results.batch_document(job), headers_only=request.method == "HEAD")
