"""The native addresses: authenticate (the gate), read (wire), one call, show (wire)."""

from dataclasses import replace

from django.http import HttpResponse, StreamingHttpResponse
from django.utils.datastructures import MultiValueDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import BadMedia
from accounts.gate import idempotency
from accounts.gate.native import NativeGateView, error_responses
from billing import tariff
from transcription import jobs, recognition, submissions
from transcription.dialects import event_stream, steps
from transcription.dialects.native import job_fields, json_body, listing, schema, wire
from transcription.dialects.native.json_body import JsonParser
from transcription.jobs import search
from transcription.models import Job
from transcription.speech import formats
from transcription.speech.transcript import Transcript
from transcription.webhooks import targets

DIALECT = "native"


class UploadView(NativeGateView):
    """Send a recording now, and order its transcription later."""

    parser_classes = [MultiPartParser, JsonParser]
    post_scopes = ("uploads",)

    @extend_schema(
        operation_id="upload_file",
        summary="Upload a file",
        tags=["Transcription"],
        request={"multipart/form-data": schema.UploadRequest, "application/json": schema.UploadUrlRequest},
        responses={201: schema.StoredFile, **error_responses(400, 401, 402, 403, 408, 409, 413, 429, 503)},
        parameters=[schema.IDEMPOTENCY_KEY],
    )
    def post(self, request: Request) -> Response:
        """Store a recording, for which transcriptions can be ordered by its `file_id` until `expires_at`.

        It costs nothing. A file that no job uses is deleted then. Send the `file` in a form, or its `url` in a form or
        in JSON: then we fetch it, and `duration`, `size`, `format` and `channels` are null. You can order at once.
        """

        def act(keep: idempotency.Keep) -> Response:
            steps.refuse_unknown(request.data, known=wire.UPLOAD_FIELDS)
            fields = _fields(request)
            url = wire.read_url(fields, has_file="file" in request.FILES)
            may_be_truncated = wire.read_accept_truncated(fields)
            if url:
                announced = submissions.store_url(
                    self.caller.organization,
                    url=url,
                    api_key=self.caller.api_key,
                    in_transaction=lambda upload: keep(201, wire.show_file_of_url(upload)),
                )
                return Response(wire.show_file_of_url(announced), status=201)
            upload = steps.one_file(request.FILES)
            try:
                media = submissions.store_file(
                    self.caller.organization,
                    upload=upload,
                    may_be_truncated=may_be_truncated,
                    in_transaction=lambda media: keep(201, wire.show_file(media)),
                )
            except BadMedia as error:
                raise wire.with_advice(error) from error
            return Response(wire.show_file(media), status=201)

        return self.once(act)


class TranscribeView(NativeGateView):
    """Order the transcription of a recording."""

    parser_classes = [MultiPartParser, JsonParser]
    post_scopes = ("uploads",)

    @extend_schema(
        operation_id="create_transcription",
        summary="Create a transcription",
        tags=["Transcription"],
        request={
            "multipart/form-data": schema.TranscribeRequest,
            "application/json": schema.TranscribeJsonRequest,
        },
        responses={201: schema.Created, **error_responses(400, 401, 402, 403, 404, 408, 409, 413, 429, 503)},
        parameters=[schema.IDEMPOTENCY_KEY],
    )
    def post(self, request: Request) -> Response:
        """Send the recording as `file` of a multipart form. Or name a file of `POST /v1/upload` by its `file_id`, or a
        public address by `url`, in a form or in a JSON object. A file can be transcribed several times.

        We fetch a `url` after the answer. A file that we cannot have fails the job and costs nothing: the `type` of its
        error is `url_not_allowed`, `url_not_found`, `url_refused`, `url_unreachable`, `url_too_large`, `url_too_slow`
        or, for what is no recording, as with uploads (`not_audio` ...).
        """

        def act(keep: idempotency.Keep) -> Response:
            steps.refuse_unknown(request.data, known=wire.FIELDS)
            fields = _fields(request)
            file_id, url = wire.read_source(fields, has_file="file" in request.FILES)
            upload = None if file_id or url else steps.one_file(request.FILES)
            model, options = wire.read_options(fields, offers=recognition.capabilities())
            after_retrieval, days = job_fields.read_retention(fields)
            webhook_url, name, value = job_fields.read_webhook(fields)
            submission = replace(
                steps.submission_of(
                    self.caller,
                    model=model,
                    options=options,
                    dialect=DIALECT,
                    in_transaction=lambda job: keep(201, wire.show_created(job)),
                ),
                metadata=job_fields.read_metadata(fields),
                retention=jobs.Retention(after_retrieval, days),
                webhook=targets.read(url=webhook_url, header_name=name, header_value=value) if webhook_url else None,
            )
            try:
                if upload is not None:
                    job = submissions.submit_file(submission, upload=upload)
                elif url:
                    job = submissions.submit_url(submission, url=url)
                else:
                    job = submissions.submit_stored(submission, file_id=file_id)
            except BadMedia as error:
                raise wire.with_advice(error) from error
            return Response(wire.show_created(job), status=201)

        return self.once(act)


class ModelsView(NativeGateView):
    """What can be chosen as `model`: `standard` and `premium` here, the other names in the APIs that have them."""

    @extend_schema(
        operation_id="list_models",
        summary="List models",
        tags=["Transcription"],
        responses={200: schema.ModelList, **error_responses(401, 403, 429)},
    )
    def get(self, request: Request) -> Response:
        """The shape is OpenAI's, with what each model does here and costs beside it."""
        diarizer = recognition.diarizer_name()
        shown = wire.show_models(
            recognition.listed_capabilities(),
            rates_micros={model: tariff.rate_of(model) for model in tariff.names()},
            diarizer=None if diarizer == "none" else diarizer,
        )
        return Response(shown)


class LanguagesView(NativeGateView):
    """What can be chosen as `language`."""

    @extend_schema(
        operation_id="list_languages",
        summary="List languages",
        tags=["Transcription"],
        responses={200: schema.LanguageList, **error_responses(401, 403, 429)},
    )
    def get(self, request: Request) -> Response:
        return Response(wire.show_languages(recognition.capabilities(), names=recognition.language_names()))


class JobsView(NativeGateView):
    """The organization's jobs, newest first."""

    @extend_schema(
        operation_id="list_jobs",
        summary="List jobs",
        tags=["Transcription"],
        parameters=schema.LIST_PARAMETERS,
        responses={200: schema.JobList, **error_responses(400, 401, 403, 429)},
    )
    def get(self, request: Request) -> Response:
        """`next_cursor` is for the next page, null after the last job. Pages by cursor cost the same however far they
        lie, and jobs that come meanwhile do not shift them, as they shift pages by `offset`.
        """
        query = request.query_params
        limit, offset = listing.read_page(query)
        found = Job.objects.of(self.caller.organization)
        if statuses := listing.read_status(query):
            found = found.filter(status__in=statuses)
        if created_after := listing.read_time(query, "created_after"):
            found = found.filter(created_at__gte=created_after)
        if created_before := listing.read_time(query, "created_before"):
            found = found.filter(created_at__lt=created_before)
        if phrases := listing.read_phrases(query):
            found = search.matching(found, phrases=phrases)
        if place := listing.read_cursor(query):
            created_at, job_id = place
            found = found.older_than(created_at=created_at, job_id=job_id)
        rows = list(found.page(offset=offset, limit=limit + 1))
        return Response(
            {
                "jobs": [wire.show_job_line(job) for job in rows[:limit]],
                "limit": limit,
                "offset": offset,
                "next_cursor": listing.show_cursor(rows[limit - 1]) if len(rows) > limit else None,
            }
        )


class JobView(NativeGateView):
    """One job."""

    @extend_schema(
        operation_id="get_job",
        summary="Get a job",
        tags=["Transcription"],
        responses={200: schema.JobDetail, **error_responses(401, 403, 404, 429)},
    )
    def get(self, request: Request, job_id: str) -> Response:
        job = steps.find_job(self.caller, job_id)
        return Response(wire.show_job(job, waits_for=recognition.waiting_note()))

    @extend_schema(
        operation_id="delete_job",
        summary="Delete a job",
        tags=["Transcription"],
        responses={200: schema.Deleted, **error_responses(401, 403, 404, 429)},
    )
    def delete(self, request: Request, job_id: str) -> Response:
        """Remove the job, its recording and its result. A running one is canceled first, and costs what a canceled job
        costs. The ledger stays.
        """
        job = steps.find_job(self.caller, job_id)
        jobs.delete(job)
        return Response({"id": job_id, "deleted": True})


class StatusView(NativeGateView):
    """A job as VoxScriber shows it."""

    @extend_schema(
        operation_id="get_status",
        summary="Get a status",
        tags=["Transcription"],
        responses={200: schema.JobStatus, **error_responses(401, 403, 404, 429)},
    )
    def get(self, request: Request, job_id: str) -> Response:
        """How far a job is, and its plain text once it has completed. The text of several recordings is in none."""
        job = steps.find_job(self.caller, job_id)
        has_text = job.is_completed and job.item_count == 1
        return Response(wire.show_status(job, transcript=_retrieve(request, job) if has_text else None))


class CancelView(NativeGateView):
    """Stop a job."""

    @extend_schema(
        operation_id="cancel_job",
        summary="Cancel a job",
        tags=["Transcription"],
        request=None,
        responses={200: schema.JobDetail, **error_responses(401, 403, 404, 409, 429)},
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Stop a job that waits or runs. What was held is free again, and nothing is charged unless it was watched.

        Text that its events have shown is charged: the recording from its beginning to the end of the last segment
        that was sent, per started second. `cost_dollars` says how much that was.
        """
        return Response(wire.show_job(jobs.cancel(steps.find_job(self.caller, job_id))))


class EventsView(NativeGateView):
    """A job as it happens."""

    @extend_schema(
        operation_id="watch_job",
        summary="Watch a job",
        tags=["Transcription"],
        responses={(200, "text/event-stream"): schema.JobEvent, **error_responses(401, 403, 404, 429)},
    )
    def get(self, request: Request, job_id: str) -> StreamingHttpResponse:
        """Server-sent events: `started`, `progress`, `segment` as they are recognised, and `end` with the job.

        A second `started` means that the work began anew: forget the segments before it.

        Text that was sent is paid. A completed job costs the same whether it was watched or not. A job that is canceled
        or deleted, or whose recording turns out to be broken, costs the recording from its beginning to the end of the
        last segment that was sent, per started second. If the job fails on our side, it costs nothing.
        """
        job = steps.find_job(self.caller, job_id)
        return StreamingHttpResponse(
            event_stream.stream(job, show=wire.show_event, show_job=wire.show_job),
            content_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )


class ResultView(NativeGateView):
    """The transcript of a completed job."""

    @extend_schema(
        operation_id="get_result",
        summary="Get a result",
        tags=["Transcription"],
        parameters=[
            OpenApiParameter("format", OpenApiTypes.STR, enum=list(formats.FORMATS), description="Default: json."),
            *schema.FORMAT_OPTIONS,
        ],
        responses={
            200: schema.Result,
            (200, "text/plain"): OpenApiTypes.STR,
            (200, "text/vtt"): OpenApiTypes.STR,
            (200, "application/x-subrip"): OpenApiTypes.STR,
            (200, "text/tab-separated-values"): OpenApiTypes.STR,
            **error_responses(400, 401, 403, 404, 429),
        },
    )
    def get(self, request: Request, job_id: str) -> HttpResponse:
        job = steps.find_job(self.caller, job_id)
        wanted, options = wire.read_format(request.query_params)
        transcript = _retrieve(request, job)
        if wanted == "json":
            return Response(wire.show_result(transcript, job=job))
        shape = formats.FORMATS[wanted]
        return HttpResponse(
            shape.render(transcript, options=options),
            content_type=shape.content_type,
            headers={"Content-Disposition": f'attachment; filename="{job.id}.{shape.extension}"'},
        )


def _fields(request: Request) -> dict[str, str]:
    """Return the text fields of a form or of a JSON object."""
    if isinstance(request.data, MultiValueDict):
        return wire.read_fields(request.data.lists())
    assert isinstance(request.data, dict), "JsonParser returns objects"
    return json_body.as_fields(request.data)


def _retrieve(request: Request, job: Job) -> Transcript:
    """Return the result of a job. To ask for its headers alone is no retrieval."""
    return jobs.transcript_of(job) if request.method == "HEAD" else jobs.retrieve(job)
