"""The native addresses: authenticate (the gate), read (wire), one call, show (wire)."""

from dataclasses import replace
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.datastructures import MultiValueDict
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import BadMedia, refuse_unknown
from accounts.gate import idempotency
from accounts.gate.native import NativeGateView, error_responses, native_error
from billing import tariff
from transcription import jobs, recognition, submissions
from transcription.dialects import event_stream, json_parsing, steps
from transcription.dialects.json_parsing import JsonParser
from transcription.dialects.native import (
    answers,
    batch,
    job_fields,
    json_body,
    listing,
    request_schema,
    result_views,
    schema,
    wire,
)
from transcription.dialects.native.json_body import BatchJsonParser
from transcription.jobs import search
from transcription.models import Delivery, Job

DIALECT = "native"


class UploadView(NativeGateView):
    """Send a recording now, and order its transcription later."""

    parser_classes = [MultiPartParser, JsonParser]
    post_scopes = ("uploads",)

    @extend_schema(
        operation_id="upload_file",
        summary="Upload a file",
        tags=["Transcription"],
        request={
            "multipart/form-data": request_schema.UploadRequest,
            "application/json": request_schema.UploadUrlRequest,
        },
        responses={201: schema.StoredFile, **error_responses(400, 401, 402, 403, 408, 409, 413, 429, 503)},
        parameters=[schema.IDEMPOTENCY_KEY],
    )
    def post(self, request: Request) -> Response:
        """Store a recording, for which transcriptions can be ordered by its `file_id` until `expires_at`.

        It costs nothing. A file that no job uses is deleted then. Send the `file` in a form, or its `url` in a form or
        in JSON: then we fetch it, and `duration`, `size`, `format` and `channels` are null. You can order at once.
        """

        def act(keep: idempotency.Keep) -> Response:
            refuse_unknown(request.data, known=wire.UPLOAD_FIELDS)
            fields = _fields(request)
            url = wire.read_url(fields, has_file="file" in request.FILES)
            may_be_truncated = wire.read_accept_truncated(fields)
            if url:
                announced = submissions.store_url(
                    self.caller.organization,
                    url=url,
                    api_key=self.caller.api_key,
                    may_be_truncated=may_be_truncated,
                    in_transaction=lambda upload: keep(201, answers.show_file_of_url(upload)),
                )
                return Response(answers.show_file_of_url(announced), status=201)
            upload = steps.one_file(request.FILES)
            try:
                media = submissions.store_file(
                    self.caller.organization,
                    upload=upload,
                    may_be_truncated=may_be_truncated,
                    in_transaction=lambda media: keep(201, answers.show_file(media)),
                )
            except BadMedia as error:
                raise wire.with_advice(error) from error
            return Response(answers.show_file(media), status=201)

        return self.once(act)


class TranscribeView(NativeGateView):
    """Order the transcription of a recording."""

    parser_classes = [MultiPartParser, BatchJsonParser]
    post_scopes = ("uploads",)

    @extend_schema(
        operation_id="create_transcription",
        summary="Create a transcription",
        tags=["Transcription"],
        request={
            "multipart/form-data": request_schema.TranscribeRequest,
            "application/json": request_schema.TranscribeJsonRequest,
        },
        responses={201: schema.Created, **error_responses(400, 401, 402, 403, 404, 408, 409, 413, 429, 503)},
        parameters=[schema.IDEMPOTENCY_KEY],
    )
    def post(self, request: Request) -> Response:
        """Send the recording as `file` of a multipart form, or name an uploaded file by the `file_id` of
        `POST /v1/upload`, or a public address by `url`, in a form or in JSON. A file can be transcribed several times.

        A JSON object can have up to 10,000 `files` of 10 GB together: one job with an item for each. The price is
        reserved when all files are known. If the balance does not cover it, the job fails. A broken file fails alone.

        A `url` is downloaded after the response. If we cannot get the file, the job fails and costs nothing: the `type`
        of its error is `url_not_allowed`, `url_not_found`, `url_refused`, `url_unreachable`, `url_too_large`,
        `url_too_slow` or, if it is not a recording, the same as for uploads (`not_audio` ...).
        """

        def act(keep: idempotency.Keep) -> Response:
            refuse_unknown(request.data, known=wire.FIELDS)
            fields = _fields(request)
            body = request.data
            is_batch = not isinstance(body, MultiValueDict) and json_body.FILES in body
            file_id, url = ("", "") if is_batch else wire.read_source(fields, has_file="file" in request.FILES)
            upload = None if file_id or url or is_batch else steps.one_file(request.FILES)
            offers = recognition.capabilities()
            model, options = wire.read_options(fields, offers=offers)
            after_retrieval, days = job_fields.read_retention(fields)
            webhook_url, name, value = job_fields.read_webhook(fields)
            submission = replace(
                steps.submission_of(
                    self.caller,
                    model=model,
                    options=options,
                    dialect=DIALECT,
                    in_transaction=lambda job: keep(201, answers.show_created(job)),
                ),
                metadata=json_parsing.read_metadata(fields),
                retention=jobs.Retention(after_retrieval, days),
                webhook=steps.webhook_of(self.caller, url=webhook_url, header_name=name, header_value=value),
            )
            try:
                if is_batch:
                    assert isinstance(body, dict), "JsonParser returns objects"
                    files = batch.read_files(body, known=offers[model].languages)
                    job = submissions.submit_named(submission, files=files)
                elif upload is not None:
                    job = submissions.submit_file(submission, upload=upload)
                elif url:
                    job = submissions.submit_url(submission, url=url)
                else:
                    job = submissions.submit_stored(submission, file_id=file_id)
            except BadMedia as error:
                raise wire.with_advice(error) from error
            return Response(answers.show_created(job), status=201)

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
        shown = answers.show_models(
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
        return Response(answers.show_languages(recognition.capabilities(), names=recognition.language_names()))


class JobsView(NativeGateView):
    """The organization's jobs, newest first; of a token, its own."""

    @extend_schema(
        operation_id="list_jobs",
        summary="List jobs",
        tags=["Transcription"],
        parameters=schema.LIST_PARAMETERS,
        responses={200: schema.JobList, **error_responses(400, 401, 403, 429)},
    )
    def get(self, request: Request) -> Response:
        """`next_cursor` leads to the next page, and is null after the last job. A cursor is as fast on every page, and
        new jobs do not shift it as they shift `offset`.
        """
        query = request.query_params
        limit, offset = listing.read_page(query)
        found = steps.jobs_of(self.caller)
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
        rows = list(found.page(offset=offset, limit=limit + 1).with_callers())
        return Response(
            {
                "jobs": [answers.show_job_line(job) for job in rows[:limit]],
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
        return Response(_shown(steps.find_job(self.caller, job_id), waits_for=recognition.waiting_note()))

    @extend_schema(
        operation_id="delete_job",
        summary="Delete a job",
        tags=["Transcription"],
        responses={200: schema.Deleted, **error_responses(401, 403, 404, 429)},
    )
    def delete(self, request: Request, job_id: str) -> Response:
        """Remove the job, its recording and its result. A running one is canceled first, and costs what a canceled job
        costs. The charge stays in the ledger, without the name of the file and without its tags.
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
        return Response(answers.show_status(job, transcript=result_views.retrieve(request, job) if has_text else None))


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
        """Stop a queued or running job. What was reserved is released, and nothing is charged unless it was watched.

        Text that its events have shown is charged: the recording from its beginning to the end of the last segment
        that was sent, per second, rounded up. `cost_dollars` says how much that was.
        """
        return Response(_shown(jobs.cancel(steps.find_job(self.caller, job_id))))


class EventsView(NativeGateView):
    """A job as it happens."""

    @extend_schema(
        operation_id="watch_job",
        summary="Watch a job",
        tags=["Transcription"],
        responses={(200, "text/event-stream"): schema.JobEvent, **error_responses(401, 403, 404, 429)},
    )
    def get(self, request: Request, job_id: str) -> StreamingHttpResponse:
        """Server-sent events: `started`, `progress`, `segment` as they are recognized, and `end` with the job.

        The last event is `error` in place of `end` if this server restarts: watch the job again.

        A second `started` means that the work started again: discard the segments before it.

        Of a job of several recordings, all events but `end` name theirs: `item` is its number, `reference` its name.

        Text that was sent is paid. A completed job costs the same whether it was watched or not. A job that is canceled
        or deleted, or whose recording turns out to be broken, costs the recording from its beginning to the end of the
        last segment that was sent, per second, rounded up. If the job fails on our side, it costs nothing.
        """
        job, request_id = steps.find_job(self.caller, job_id), self.request_id
        return StreamingHttpResponse(
            event_stream.stream(
                job,
                show=answers.show_event,
                show_job=answers.show_job,
                show_error=lambda error: native_error(error, request_id=request_id),
            ),
            content_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )


class ItemsView(NativeGateView):
    """The recordings of a job."""

    @extend_schema(
        operation_id="list_items",
        summary="List the items of a job",
        tags=["Transcription"],
        parameters=schema.ITEM_PARAMETERS,
        responses={200: schema.ItemList, **error_responses(400, 401, 403, 404, 429)},
    )
    def get(self, request: Request, job_id: str) -> Response:
        """The recordings of a job in the order in which they were sent, each with its state. `next_cursor` is for the
        next page, null after the last item. `items_left` counts those that have not ended.
        """
        job = steps.find_job(self.caller, job_id)
        limit, position = batch.read_page(request.query_params)
        return Response(
            batch.show_items(job, items=jobs.items_page(job, position=position, limit=limit + 1), limit=limit)
        )


def _fields(request: Request) -> dict[str, str]:
    """Return the text fields of a form or of a JSON object."""
    if isinstance(request.data, MultiValueDict):
        return wire.read_fields(request.data.lists())
    assert isinstance(request.data, dict), "JsonParser returns objects"
    return json_body.as_fields(request.data)


def _shown(job: Job, *, waits_for: str = "") -> dict[str, Any]:
    return {
        **answers.show_job(job, waits_for=waits_for),
        **answers.show_delivery(job, Delivery.objects.to_webhook_of(job)),
    }
